// Plain or expert words, whichever somebody chose last, and a tour of the page on the first visit.

Object.assign(window.gcd, (() => {
  const kept = {
    get: name => {
      try {
        return localStorage.getItem(name);
      } catch {
        return null; // the browser keeps nothing for this page
      }
    },
    set: (name, value) => {
      try {
        localStorage.setItem(name, value);
      } catch {}
    },
  };
  let written = {}; // what Gradio's components say, [plain, expert] by selector
  let steps = []; // of the tour: what to look at, and what to say
  let captions = {}; // of the changed picture, as HTML, by what it is

  const mode = () => (document.body.classList.contains('plain') ? 'plain' : 'expert');

  const write = () => {
    const which = mode() === 'plain' ? 0 : 1;
    const told = [...document.querySelectorAll('[data-written]')].map(e => JSON.parse(e.dataset.written));
    for (const [selector, words] of Object.entries(Object.assign({}, written, ...told)))
      for (const element of document.querySelectorAll(selector)) {
        if (element.textContent.trim() === words[which]) continue;
        element.textContent = words[which];
        element.parentElement.querySelector('input[aria-label]')?.setAttribute('aria-label', words[which]);
      }
    // On a narrow page some tabs are in a menu, in any order.
    const tabs = Object.entries(written).filter(([selector]) => selector.startsWith('#tabs'));
    for (const button of document.querySelectorAll('#tabs .overflow-dropdown button')) {
      const words = tabs.find(([, both]) => both.includes(button.textContent.trim()))?.[1][which];
      if (words && button.textContent.trim() !== words) button.textContent = words;
    }
    for (const row of document.querySelectorAll('.gcd-direction')) {
      const name = row.querySelector(`.gcd-title .${mode()}`)?.textContent ?? '';
      row.querySelector('button')?.setAttribute('aria-label', `${written['.gcd-direction button'][which]}: ${name}`);
      for (const input of row.querySelectorAll('input')) input.setAttribute('aria-label', `${name}, ${input.type}`);
    }
    for (const button of document.querySelectorAll('[data-words]'))
      button.setAttribute('aria-pressed', button.dataset.words === mode());
  };

  const choose = words => {
    document.body.classList.toggle('plain', words === 'plain');
    kept.set('gcd-words', words);
    write();
  };

  const setWords = (words, tour, figures) => {
    [written, steps, captions] = [words, tour, figures];
  };
  const caption = name => captions[name];
  const wordsOf = selector => written[selector];

  // What a term means, beside it, while it is pointed at or has the focus.
  let tip = null;
  const hideTip = () => {
    tip?.remove();
    tip = null;
  };
  const showTip = event => {
    const subject = event.target.closest?.('[data-tip]');
    hideTip();
    if (!subject) return;
    tip = document.createElement('div');
    tip.className = 'gcd-tip';
    tip.setAttribute('aria-hidden', 'true'); // the term says it itself to who does not see
    tip.textContent = mode() === 'plain' ? subject.dataset.plainTip : subject.dataset.tip;
    document.body.append(tip);
    const box = subject.getBoundingClientRect();
    const above = box.top > tip.offsetHeight + 12;
    tip.style.top = `${above ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
    tip.style.left = `${Math.min(Math.max(box.left, 10), innerWidth - tip.offsetWidth - 10)}px`;
  };
  for (const name of ['pointerover', 'focusin']) document.addEventListener(name, showTip);
  for (const name of ['pointerdown', 'focusout', 'scroll'])
    document.addEventListener(name, hideTip, true);

  // The tour: a card beside what it speaks of, which is in nobody's way.
  let at = -1;
  const leave = () => {
    document.querySelector('.gcd-tour')?.remove();
    document.querySelectorAll('.gcd-toured').forEach(e => e.classList.remove('gcd-toured'));
    kept.set('gcd-tour', 'seen');
    at = -1;
  };
  const show = step => {
    leave();
    if (step >= steps.length) return;
    at = step;
    const [selector, text] = steps[step];
    const subject = document.querySelector(selector);
    if (!subject) return;
    subject.classList.add('gcd-toured');
    subject.scrollIntoView({ block: 'nearest' });
    const card = document.createElement('div');
    card.className = 'gcd-tour';
    card.setAttribute('role', 'dialog');
    card.setAttribute('aria-label', 'A tour of the page');
    const last = step === steps.length - 1;
    card.innerHTML =
      '<p></p><div><small></small><button type="button" data-tour="end">Skip</button>' +
      `<button type="button" data-tour="next" class="next">${last ? 'Begin' : 'Next'}</button></div>`;
    card.querySelector('p').textContent = text;
    card.querySelector('small').textContent = `${step + 1} of ${steps.length}`;
    document.body.append(card);
    const box = subject.getBoundingClientRect();
    const below = box.bottom + card.offsetHeight + 16 < innerHeight;
    const top = below ? box.bottom + 10 : Math.max(10, box.top - card.offsetHeight - 10);
    const left = Math.min(Math.max(box.left, 10), innerWidth - card.offsetWidth - 10);
    card.style.top = `${Math.min(top, innerHeight - card.offsetHeight - 10)}px`;
    card.style.left = `${left}px`;
    card.querySelector('.next').focus({ preventScroll: true });
  };

  document.addEventListener('click', event => {
    const words = event.target.closest('[data-words]')?.dataset.words;
    if (words) choose(words);
    const tour = event.target.closest('[data-tour]')?.dataset.tour;
    if (tour === 'next') show(at + 1);
    else if (tour === 'end') leave();
    else if (event.target.closest('#tour')) show(0);
  });
  document.addEventListener('keydown', event => {
    if (event.key === 'Escape') hideTip();
    if (event.key === 'Escape' && at >= 0) leave();
  });

  const start = () => {
    if (document.body.matches('.gcd-alone')) return;
    document.body.classList.toggle('plain', kept.get('gcd-words') !== 'expert');
    let waits = 0;
    new MutationObserver(() => {
      cancelAnimationFrame(waits);
      waits = requestAnimationFrame(write);
    }).observe(document.body, { childList: true, subtree: true });
    write();
  };
  gcd.whenThere(start);

  // The first visit's tour begins once there is something to see.
  const begin = element => {
    if (kept.get('gcd-tour') || 'toured' in document.body.dataset) return;
    if (!element.querySelector('figure')) return;
    document.body.dataset.toured = '';
    setTimeout(() => show(0), 600);
  };

  // What a download sends: its format, and where the event takes them, the words that are chosen.
  const withFormat = format => (...values) => [format, mode()].slice(0, values.length);

  return { setWords, caption, wordsOf, begin, withFormat };
})());
