// @ts-check
// Shows the OpenAPI document of this edge. Everything in it becomes text, never markup.

import { within } from '../chat/elements.js';

/** @typedef {Record<string, any>} Json */

/**
 * @param {string} name
 * @param {string} [text]
 * @param {string} [className]
 */
function made(name, text = '', className = '') {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

/**
 * What a value may be, in a few words.
 * @param {Json | undefined} schema
 * @returns {string}
 */
export function typeOf(schema) {
  if (schema === undefined) return '';
  if (schema.$ref) return String(schema.$ref).split('/').at(-1) ?? '';
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((/** @type {unknown} */ one) => JSON.stringify(one)).join(' | ');
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return several.map(typeOf).join(' | ');
  if (schema.type === 'array') return `list of ${typeOf(schema.items) || 'anything'}`;
  return schema.type ?? 'anything';
}

/**
 * @param {string[]} titles
 * @param {string[][]} rows
 */
function table(titles, rows) {
  const whole = made('table');
  const head = whole.appendChild(made('tr'));
  for (const title of titles) head.append(made('th', title));
  for (const cells of rows) {
    const row = whole.appendChild(made('tr'));
    cells.forEach((cell, column) => row.append(made('td', cell, column === 1 ? 'type' : '')));
  }
  return whole;
}

/** @param {Json} schema */
function members(schema) {
  const needed = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([name, value]) => [
    needed.has(name) ? `${name} (required)` : name, typeOf(value), value.description ?? '',
  ]);
  return table(['member', 'value', ''], rows);
}

/** @param {Json} parameters */
function parameterTable(parameters) {
  return table(['parameter', 'value', 'where'], parameters.map((/** @type {Json} */ one) => [
    one.required ? `${one.name} (required)` : one.name, typeOf(one.schema), `${one.in}. ${one.description ?? ''}`,
  ]));
}

/** @param {Json} answers */
function answerTable(answers) {
  return table(['status', 'content', ''], Object.entries(answers).map(([status, answer]) => [
    status,
    Object.entries(answer.content ?? {}).map(([type, said]) => `${type} ${typeOf(said.schema)}`.trim()).join(', '),
    answer.description ?? '',
  ]));
}

/**
 * @param {string} verb
 * @param {string} path
 * @param {Json} operation
 */
function operationOf(verb, path, operation) {
  const whole = made('details');
  const title = whole.appendChild(made('summary'));
  title.append(made('span', verb.toUpperCase(), 'verb'), made('code', path), made('span', ` ${operation.summary ?? ''}`, 'soft'));
  whole.append(made('p', operation.description ?? ''));
  if (operation.parameters?.length) whole.append(parameterTable(operation.parameters));
  const body = operation.requestBody?.content?.['application/json']?.schema;
  if (body) {
    whole.append(made('h3', 'Body'), made('p', body.description ?? ''), members(body));
    for (const example of body.examples ?? []) whole.append(made('pre', JSON.stringify(example, null, 2)));
  }
  whole.append(made('h3', 'Answers'), answerTable(operation.responses ?? {}));
  return whole;
}

/** @param {Json} api */
function show(api) {
  const root = within(document, '#reference', HTMLElement);
  within(root, '#about', HTMLElement).textContent = api.info.description ?? '';
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [verb, operation] of Object.entries(operations)) root.append(operationOf(verb, path, operation));
  }
  root.append(made('h2', 'Shapes'));
  for (const [name, schema] of Object.entries(api.components?.schemas ?? {})) {
    const shape = root.appendChild(made('details'));
    shape.append(made('summary', name), made('p', schema.description ?? ''), members(schema));
  }
  root.setAttribute('aria-busy', 'false');
}

async function begin() {
  try {
    const answer = await fetch('/openapi.json');
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    within(document, '#about', HTMLElement).textContent = `The document cannot be read: ${error}`;
  }
}

if (typeof document !== 'undefined') void begin();
