'use strict';
// Shows openapi.json of the same server. Everything is put in as text, never as markup.
const el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter(child => child != null));
  return node;
};
const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
let api;

const resolve = schema => {
  while (schema && schema.$ref) schema = schema.$ref.replace('#/', '').split('/').reduce((at, key) => at?.[key], api);
  return schema;
};
const example = (schema, depth = 0) => {
  schema = resolve(schema);
  if (!schema || depth > 6) return null;
  if ('example' in schema) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if ('default' in schema) return schema.default;
  if ('const' in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  const type = [].concat(schema.type ?? (schema.properties ? 'object' : 'string'))[0];
  if (type === 'object') return Object.fromEntries(Object.entries(schema.properties ?? {})
    .filter(([name]) => !schema.required || schema.required.includes(name) || depth === 0)
    .map(([name, value]) => [name, example(value, depth + 1)]));
  if (type === 'array') return schema.items ? [example(schema.items, depth + 1)] : [];
  if (type === 'integer' || type === 'number') return schema.minimum ?? 1;
  if (type === 'boolean') return true;
  return schema.format === 'email' ? 'ada@example.com' : schema.format === 'uuid' ? crypto.randomUUID() : 'text';
};
const pretty = value => JSON.stringify(value, null, 2);
const schemaBlock = (label, schema) => schema && el('details', {},
  el('summary', {}, label), el('div', { class: 'body' }, el('pre', {}, pretty(resolve(schema)))));

const parameters = list => list.length && el('table', {},
  el('tr', {}, ...['parameter', 'in', 'type', 'meaning'].map(text => el('th', {}, text))),
  ...list.map(p => el('tr', {}, el('td', {}, el('code', {}, p.name), p.required ? ' *' : ''), el('td', {}, p.in),
    el('td', {}, el('code', {}, p.schema?.enum?.join(' | ') ?? p.schema?.format ?? p.schema?.type ?? '')),
    el('td', {}, p.description ?? ''))));

const tryForm = (path, method, operation, params) => {
  const fields = params.filter(p => p.in !== 'cookie').map(p => [p, el('input', { placeholder: `${p.name} (${p.in})`, 'aria-label': p.name })]);
  const type = Object.keys(operation.requestBody?.content ?? {})[0];
  const body = type && el('textarea', { 'aria-label': 'Body', spellcheck: 'false' });
  if (body) body.value = pretty(example(operation.requestBody.content[type].schema) ?? {});
  const answer = el('pre', { hidden: '' });
  const send = el('button', { type: 'button' }, 'Send');
  send.addEventListener('click', async () => {
    const headers = {}, query = new URLSearchParams();
    let target = path;
    for (const [p, input] of fields) {
      if (p.in === 'path') target = target.replace(`{${p.name}}`, encodeURIComponent(input.value));
      else if (input.value && p.in === 'query') query.set(p.name, input.value);
      else if (input.value) headers[p.name] = input.value;
    }
    const token = document.getElementById('token').value.trim();
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers['Content-Type'] = type;
    answer.hidden = false;
    answer.textContent = '…';
    try {
      const began = performance.now();
      const reply = await fetch(target + (query.size ? `?${query}` : ''), { method: method.toUpperCase(), headers, body: body?.value });
      const text = await reply.text();
      let shown = text;
      try { shown = pretty(JSON.parse(text)); } catch { /* not JSON: shown as it is */ }
      answer.textContent = `${reply.status} in ${Math.round(performance.now() - began)} ms\n${shown}`;
    } catch (error) { answer.textContent = String(error); }
  });
  return el('details', {}, el('summary', {}, 'Try it'), el('div', { class: 'body' }, ...fields.map(([, input]) => input), body, send, answer));
};

const operationBlock = (path, method, operation, shared) => {
  const params = [...shared, ...(operation.parameters ?? [])].map(resolve);
  const block = el('details', { id: operation.operationId ?? `${method} ${path}` });
  const head = el('summary', {}, el('span', { class: `method ${method}` }, method.toUpperCase()), el('code', {}, path),
    operation.security?.length ? el('span', { class: 'lock', title: 'needs a bearer token' }, 'token') : null,
    operation['x-nexus-stale'] ? el('span', { class: 'lock', title: 'the service is not reachable now; this is the last that is known' }, 'stale') : null,
    el('span', { class: 'what' }, operation.summary ?? ''));
  const body = el('div', { class: 'body' }, operation.description ? el('p', {}, operation.description) : null, parameters(params) || null);
  for (const [type, media] of Object.entries(operation.requestBody?.content ?? {})) body.append(schemaBlock(`Body: ${type}`, media.schema) ?? '');
  for (const [status, reply] of Object.entries(operation.responses ?? {})) {
    const made = resolve(reply);
    const schema = Object.values(made.content ?? {})[0]?.schema;
    body.append(schemaBlock(`${status} ${made.description ?? ''}`, schema) ?? el('p', {}, el('code', {}, status), ` ${made.description ?? ''}`));
  }
  body.append(tryForm(path, method, operation, params));
  block.append(head, body);
  block.dataset.text = `${method} ${path} ${operation.summary ?? ''} ${operation.operationId ?? ''}`.toLowerCase();
  return block;
};

const show = () => {
  const list = document.getElementById('list'), groups = new Map();
  document.title = document.getElementById('title').textContent = api.info.title;
  document.getElementById('about').textContent = `${api.info.description ?? ''} Version ${api.info.version}, OpenAPI ${api.openapi}.`;
  for (const [path, item] of Object.entries(api.paths ?? {})) {
    for (const method of METHODS.filter(name => item[name])) {
      const tag = item[method].tags?.[0] ?? 'other';
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationBlock(path, method, item[method], item.parameters ?? []));
    }
  }
  list.replaceChildren(...[...groups].flatMap(([tag, blocks]) => [el('h2', {}, tag), ...blocks]));
  const open = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (open) { open.open = true; open.scrollIntoView(); }
};

document.getElementById('bar').addEventListener('submit', event => event.preventDefault());
document.getElementById('find').addEventListener('input', event => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const block of document.querySelectorAll('[data-text]')) block.hidden = !words.every(word => block.dataset.text.includes(word));
});
fetch('openapi.json').then(reply => reply.json()).then(json => { api = json; show(); }).catch(error => {
  document.getElementById('list').replaceChildren(el('p', { class: 'error' }, `openapi.json cannot be read: ${error}`));
});
