"""Scripts that a headless Chromium runs in a page: what is cut off, and how well each text can be read."""

from __future__ import annotations

LEAST_CONTRAST = 4.5
"""Of normal text: WCAG 2.2, success criterion 1.4.3."""
CUT = """() => [...document.querySelectorAll('body *')].filter(one => {
    if (one.closest('svg') && one.tagName !== 'svg' || one.closest('.unseen, .skip, legend, thead')) return false;
    const box = one.getBoundingClientRect(), style = getComputedStyle(one);
    const out = box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
    return out || style.overflowX !== 'visible' && one.scrollWidth > one.clientWidth + 1;
}).map(one => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 60)}`)"""
"""Elements that stick out of the window, or whose own content is wider than they are."""
CONTRASTS = r"""() => {
    const parse = text => {
        const [, kind, body] = text.match(/^(rgba?|color)\((.*)\)$/);
        const numbers = body.replace('srgb', '').match(/[\d.e-]+/g).map(Number);
        const scale = kind === 'color' ? 255 : 1;
        return [...numbers.slice(0, 3).map(one => one * scale), numbers[3] ?? 1];
    };
    const over = (top, below) => [0, 1, 2].map(at => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
    const light = rgb => [0, 1, 2].map(at => rgb[at] / 255)
        .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
    const ground = (node, text) => {
        const layers = [];
        for (let at = node; at instanceof Element; at = at.parentElement) {
            if (!at.closest('svg')) layers.push(parse(getComputedStyle(at).backgroundColor));
        }
        const rect = text && text.previousElementSibling;  // a number on a cell that is drawn
        if (rect && rect.matches('.heat')) {
            const style = getComputedStyle(rect), fill = parse(style.fill);
            layers.unshift([...fill.slice(0, 3), fill[3] * Number(style.fillOpacity)]);
        }
        return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
    };
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode, one = node.parentElement;
        if (!node.textContent.trim() || one.closest('script, style, title, desc, .unseen, .skip, legend, .tip')) {
            continue;
        }
        if (one.checkVisibility && !one.checkVisibility()) continue;
        const style = getComputedStyle(one), drawn = one.closest('text');
        const behind = ground(one, drawn), ink = over(parse(drawn ? style.fill : style.color), behind);
        const pair = [light(ink), light(behind)].sort((a, b) => b - a);
        const what = `${one.tagName}.${one.getAttribute('class')} ${node.textContent.trim().slice(0, 40)}`;
        found.push([(pair[0] + .05) / (pair[1] + .05), what]);
    }
    return found;
}"""
"""The contrast and the words of each text that is shown, from the computed colours of it and of all behind it."""
