'use strict';
// The whole tutorial on one page. The token stays in this page's memory; the socket is let in by the session cookie.

(() => {
  const API = '/api/v1';
  const element = (id) => document.getElementById(id);
  let token = null;
  let job = null;
  let losses = [];

  async function call(path, options = {}) {
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch(API + path, { ...options, headers });
    const body = response.status === 204 ? null : await response.json();
    if (response.ok) return body;
    const facts = (body.error.details || []).map((detail) => `${detail.field}: ${detail.issue}`);
    if (response.status === 401) signedIn(null);
    throw new Error([body.error.message, ...facts].join('\n'));
  }

  const send = (path, value) =>
    call(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(value) });

  function say(problem) {
    element('problem').textContent = problem;
    element('problem').hidden = !problem;
  }

  // Runs what a form asks for; its button waits meanwhile, and what goes wrong is said.
  function on(form, action) {
    element(form).addEventListener('submit', async (event) => {
      event.preventDefault();
      const button = event.target.querySelector('button');
      button.disabled = true;
      say('');
      try {
        await action(new FormData(event.target));
      } catch (error) {
        say(error.message);
      } finally {
        button.disabled = false;
      }
    });
  }

  function signedIn(account) {
    element('who').textContent = account ? account.email : '';
    element('signInStep').hidden = Boolean(account);
    element('signOut').hidden = !account;
    if (!account) token = null;
  }

  const cycles = (count) => `${count} ${count === 1 ? 'cycle' : 'cycles'}`;

  async function listBatteries(chosen) {
    const newest = await call('/batteries?page_size=1');
    const page = Math.max(1, Math.ceil(newest.meta.total / 100));
    const { items } = await call(`/batteries?page=${page}&page_size=100`);
    const options = items.reverse().map((battery, place) => {
      const facts = [cycles(battery.total_cycles), battery.nominal_capacity && `${battery.nominal_capacity} Ah`];
      const text = [`#${battery.id} ${battery.filename}`, ...facts, battery.manufacturer, battery.chemistry];
      return new Option(text.filter(Boolean).join(' · '), battery.id, false, chosen ? battery.id === chosen : place === 0);
    });
    element('batteries').replaceChildren(...options);
  }

  function chosenBattery() {
    const id = Number(element('batteries').value);
    if (!id) throw new Error('Upload a battery, or choose one from the list.');
    return id;
  }

  on('signInForm', async (form) => {
    const body = new URLSearchParams({ username: form.get('username'), password: form.get('password') });
    token = (await call('/auth/token', { method: 'POST', body })).access_token;
    signedIn(await call('/auth/me'));
    await listBatteries();
  });

  on('uploadForm', async (form) => {
    const file = form.get('fileInput');
    if (!file || !file.name) throw new Error('Choose a .mat file first.');
    const body = new FormData();
    body.append('file', file);
    for (const name of ['manufacturer', 'chemistry', 'nominal_capacity']) {
      if (form.get(name)) body.append(name, form.get(name));
    }
    const battery = await call('/batteries', { method: 'POST', body });
    await listBatteries(battery.id);
  });

  on('trainForm', async (form) => {
    job = await send('/training-jobs', {
      algorithm: form.get('algorithm'),
      battery_ids: [chosenBattery()],
      hyperparams: { epochs: Number(form.get('epochs')) },
    });
    losses = [];
    element('log').textContent = '';
    element('job').hidden = element('stop').hidden = false;
    follow(job.id);
  });

  function follow(id, after) {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}${API}/training-jobs/${id}/ws${after ? `?after=${after}` : ''}`);
    let seen = after;
    let over = false;
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      seen = message.seq;
      over = over || message.type === 'complete' || message.type === 'error';
      if (job && job.id === id) show(message);
    };
    socket.onclose = (event) => {
      if (!over && event.code !== 1008 && job && job.id === id) setTimeout(() => follow(id, seen), 1000);
    };
  }

  function show(message) {
    if (message.type === 'progress') {
      element('progress').value = message.progress;
      const loss = message.current_loss === null ? '' : `, loss ${Number(message.current_loss).toPrecision(3)}`;
      element('state').textContent = `Job ${message.job_id}: ${message.status}, epoch ${message.current_epoch}/${message.total_epochs}${loss}`;
      if (message.train_loss) losses.push([message.train_loss, message.val_loss]);
      draw();
    } else if (message.type === 'log') {
      element('log').append(`${message.message}\n`);
      element('log').scrollTop = element('log').scrollHeight;
    } else {
      element('stop').hidden = true;
      if (message.type === 'complete') element('progress').value = 1;
      const end = message.type === 'complete' ? `succeeded: model ${message.model_id}` : `${message.status}: ${message.error_message}`;
      element('state').textContent = `Job ${message.job_id} ${end}`;
    }
  }

  function draw() {
    const all = losses.flat().filter((loss) => loss > 0).map(Math.log);
    const low = Math.min(...all);
    const span = Math.max(...all) - low || 1;
    for (const [column, id] of ['trainLoss', 'valLoss'].entries()) {
      const points = losses
        .map((pair, epoch) => [(100 * epoch) / Math.max(1, losses.length - 1), pair[column]])
        .filter(([, loss]) => loss > 0)
        .map(([x, loss]) => `${x.toFixed(2)},${(29 - (28 * (Math.log(loss) - low)) / span).toFixed(2)}`);
      element(id).setAttribute('points', points.join(' '));
    }
  }

  on('predictForm', async () => {
    const algorithm = element('algorithm').value;
    const { result } = await send('/predictions', { algorithm, battery_id: chosenBattery() });
    const between = (interval, text) => (interval ? ` (90 %: ${interval.map(text).join(' to ')})` : '');
    const percent = (fraction) => `${(100 * fraction).toFixed(1)} %`;
    fill('soh', percent(result.soh), between(result.soh_interval, percent));
    fill('rul', cycles(Math.round(result.rul)), between(result.rul_interval, Math.round));
    fill('confidence', percent(result.confidence), '');
    element('result').hidden = false;
    element('warnings').replaceChildren(...result.warnings.map((text) => Object.assign(document.createElement('li'), { textContent: text })));
  });

  function fill(id, value, note) {
    const small = Object.assign(document.createElement('small'), { textContent: note });
    element(id).replaceChildren(value, small);
  }

  element('stop').addEventListener('click', () => call(`/training-jobs/${job.id}/stop`, { method: 'POST' }).catch((error) => say(error.message)));
  element('signOut').addEventListener('click', async () => {
    await call('/auth/logout', { method: 'POST' }).catch((error) => say(error.message));
    signedIn(null);
  });
})();
