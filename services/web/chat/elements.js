// @ts-check

/**
 * The element of that kind, which has to be there.
 * @template {Element} E
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => E} kind
 * @returns {E}
 */
export function within(root, selector, kind) {
  const element = root.querySelector(selector);
  if (!(element instanceof kind)) throw new Error(`the page has no ${selector}`);
  return element;
}

/**
 * @param {string} id
 * @returns {HTMLElement} a copy of the template's one element
 */
export function cloned(id) {
  const element = within(document, `#${id}`, HTMLTemplateElement).content.firstElementChild;
  if (element === null) throw new Error(`the template ${id} is empty`);
  return /** @type {HTMLElement} */ (element.cloneNode(true));
}

/**
 * Set a text only if it changes: a live region is read out again for each assignment.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
