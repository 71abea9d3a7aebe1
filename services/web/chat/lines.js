// @ts-check

// The first letter with a direction of its own decides, as in Unicode's rules; these scripts run from right to left.
const STRONG = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]|\p{L}/u;
const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

/**
 * @param {string} paragraph
 * @returns {'ltr' | 'rtl'} the direction that a browser gives it
 */
export function directionOf(paragraph) {
  const first = STRONG.exec(paragraph)?.[0] ?? '';
  return RIGHT_TO_LEFT.test(first) ? 'rtl' : 'ltr';
}

/**
 * Where the last line begins, as the browser has broken the text. What stands before it will not move any more,
 * however the text goes on: its first word is on this line because it did not fit on the one before.
 * @param {Text} node
 * @returns {number} a place after 0
 */
export function lastLineStart(node) {
  const range = document.createRange();
  const bottomOf = (/** @type {number} */ at) => {
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return range.getBoundingClientRect().bottom;
  };
  let before = node.data.lastIndexOf('\n') + 1;
  let within = node.length - 1;
  const last = bottomOf(within);
  // Not laid out (a closed fold), or all in one line: any place between two words does.
  if (last === 0 || bottomOf(before) >= last) return lastBreak(node.data);
  while (within - before > 1) {
    const middle = (before + within) >> 1;
    if (bottomOf(middle) < last) before = middle;
    else within = middle;
  }
  return characterStart(node.data, within);
}

/**
 * Halves of characters and marks have no place of their own on a line.
 * @param {string} text
 * @param {number} at
 * @returns {number} where the character at this place begins
 */
function characterStart(text, at) {
  let start = at;
  while (start > 1 && (/^[\uDC00-\uDFFF\p{M}\u200d\ufe0f]/u.test(text.slice(start, start + 2)) || text[start - 1] === '\u200d')) {
    start -= 1;
  }
  return start;
}

/**
 * @param {string} text
 * @returns {number} behind the last space, or the end; never inside a character
 */
function lastBreak(text) {
  const space = text.lastIndexOf(' ');
  if (space > 0) return space + 1;
  const isHalf = /[\uD800-\uDBFF]$/.test(text);
  return isHalf ? text.length - 1 : text.length;
}
