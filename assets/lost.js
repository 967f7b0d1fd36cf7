// A server that does not answer any more. Gradio says so in a message of its own, looks for the
// server, and loads the page anew once it is back; this says what that means for the visitor.

Object.assign(window.gcd, (() => {
  const SAID = 'Connection to the server was lost'; // by Gradio
  const isLost = () => document.body.classList.contains('gcd-lost');

  const look = () => {
    if (isLost()) return;
    const said = [...document.querySelectorAll('.toast-body')].some(one => one.textContent.includes(SAID));
    if (!said) return;
    document.body.classList.add('gcd-lost');
    gcd.allEnd();
    const words = document.createElement('p');
    Object.assign(words, { className: 'gcd-lost-words', innerHTML: gcd.caption('lost') });
    words.setAttribute('role', 'alert');
    document.body.append(words);
  };
  gcd.whenThere(() => new MutationObserver(look).observe(document.body, { childList: true, subtree: true }));

  // What is pressed now would wait for good, and look as if it were under way. What the browser does
  // alone goes on: tabs, links, words, the painter, zoom.
  const NEEDS_SERVER =
    '#examples, #source, #label, #directions button, #suggest-region, #try-region, #target, #use-so-far, #start, [data-detail], [data-piece]';
  document.addEventListener(
    'click',
    event => {
      if (!isLost() || !event.target.closest?.(NEEDS_SERVER)) return;
      event.stopImmediatePropagation();
      event.preventDefault();
      const words = document.querySelector('.gcd-lost-words');
      words.classList.remove('again');
      requestAnimationFrame(() => words.classList.add('again')); // looked at once more
    },
    true
  );

  return { isLost };
})());
