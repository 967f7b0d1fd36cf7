// What "To flip" is doing, and for how long: on its button, and on the changed picture.

Object.assign(window.gcd, (() => {
  const SOON = 300; // milliseconds, within which nothing needs to be said
  let [began, timer, last] = [0, 0, 0];
  let button = null;

  const shown = () => {
    const frame = document.querySelector('#pictures figure.changed .frame');
    const words = frame?.querySelector('.gcd-doing') ?? document.createElement('p');
    if (words.parentNode !== frame) {
      Object.assign(words, { className: 'gcd-doing', role: 'status' });
      frame?.append(words);
    }
    return words;
  };
  const tell = () => {
    const seconds = Math.round((performance.now() - began) / 1000);
    const before = last ? `; the last took ${last} s` : '';
    shown().innerHTML = `${gcd.caption('flipping')}: <b>${seconds} s</b>${before}`;
    button.dataset.doing = `${seconds} s`;
    button.setAttribute('aria-busy', 'true');
  };

  const flipBegins = name => {
    flipEnds();
    [button, began] = [document.querySelector(`#flip-${name}`), performance.now()];
    if (!button) return;
    timer = setTimeout(() => {
      tell();
      timer = setInterval(tell, 500);
    }, SOON);
  };
  const flipEnds = () => {
    clearInterval(timer);
    timer = 0;
    if (button?.dataset.doing) last = Math.max(1, Math.round((performance.now() - began) / 1000));
    button?.removeAttribute('data-doing');
    button?.removeAttribute('aria-busy');
    button = null;
    document.querySelector('.gcd-doing')?.remove();
  };

  return { flipBegins, flipEnds };
})());
