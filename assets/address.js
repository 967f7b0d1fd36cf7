// The page's address and what is shown agree: it follows both the picture and the tab, and back and
// forward go through all of their steps.

Object.assign(window.gcd, (() => {
  const MOMENT = 300; // milliseconds for what else an answer brings
  // Another image, label or set of directions, and another tab, is a step back for the browser; a
  // move of a slider is not. What the query holds is the server's to say, and to read.
  const STEPS = ['example', 'label', 'own', 'directions'];
  let timer = 0;
  let returning = false; // to a step that the browser has in its history already

  // The address does not say which own picture was open: its name is kept in the browser's history.
  const ownName = () => {
    const shown = document.querySelector('#pictures [data-address]');
    return shown?.dataset.address.startsWith('own=') ? shown.dataset.name : null;
  };
  const put = (address, step) =>
    history[step ? 'pushState' : 'replaceState']({ own: ownName() }, '', address);

  const follow = () => {
    const address = document.querySelector('#pictures [data-address]')?.dataset.address;
    if (!address || gcd.isOpening()) return; // what is to be shown comes later
    const [was, is] = [new URLSearchParams(location.search), new URLSearchParams(address)];
    const step = location.search && !returning && STEPS.some(key => was.get(key) !== is.get(key));
    returning = false;
    remember(address);
    if (location.search !== `?${address}`) put(`?${address}${location.hash}`, step);
  };

  // Ctrl+Z goes back to where the sliders of this picture stood before, one move at a time.
  const KEPT = 50; // moves
  const places = []; // addresses of one picture, label and set, the present one last
  const sameButMoved = (one, other) => {
    const [a, b] = [new URLSearchParams(one), new URLSearchParams(other)];
    return STEPS.every(key => a.get(key) === b.get(key));
  };
  // What was answered about another picture, question or place of the sliders says nothing now.
  const closeAnswers = () =>
    document.querySelectorAll('.toast-body.info [data-testid=toast-close]').forEach(one => one.click());
  const remember = address => {
    if (places.length && !sameButMoved(places.at(-1), address)) {
      closeAnswers();
      places.length = 0;
    }
    if (places.at(-1) === address) return;
    if (places.length) closeAnswers();
    places.push(address);
    if (places.length > KEPT) places.shift();
  };
  const undo = () => {
    if (places.length < 2 || gcd.isOpening()) return;
    places.pop();
    clearTimeout(timer);
    put(`?${places.at(-1)}${location.hash}`, false);
    document.querySelector('#revisit')?.click();
  };
  document.addEventListener('keydown', event => {
    if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.key !== 'z') return;
    if (event.target.matches?.('input[type=text], input[type=number], textarea')) return;
    if (selected() !== 'explore') return;
    event.preventDefault();
    undo();
  });
  const writeAddress = () => {
    clearTimeout(timer);
    timer = setTimeout(follow, MOMENT);
  };
  const stepsOn = () => {
    returning = false;
  };

  // Where a slider rests, where the server does not answer to that: when a lost connection is back,
  // Gradio loads the page anew, and the address leads there.
  const writePlace = () => {
    if (!location.search || gcd.isOpening()) return;
    const query = new URLSearchParams(location.search);
    for (const row of document.querySelectorAll('.gcd-direction')) {
      const [name, alpha] = [row.id.split('-')[1], Number(row.querySelector('input[type=range]')?.value ?? 0)];
      query.delete(name);
      if (alpha) query.append(name, alpha);
    }
    put(`?${query}${location.hash}`, false);
  };

  const wanted = () => location.hash.slice(1) || 'explore';
  const selected = () => document.querySelector('#tabs [role=tab][aria-selected=true]')?.dataset.tabId;

  // On a narrow page some tabs are in a menu, where they have no name but their words.
  const select = name => {
    const tab = document.querySelector(`#tabs [role=tab][data-tab-id="${CSS.escape(name)}"]`);
    if (tab) return tab.click();
    const words = gcd.wordsOf(`#tabs [data-tab-id=${name}]`) ?? [name];
    for (const button of document.querySelectorAll('#tabs .overflow-dropdown button'))
      if (words.some(text => text.toLowerCase() === button.textContent.trim().toLowerCase()))
        return button.click();
  };

  const TRIES = 30; // changes of the page until the tab that the address names is chosen
  let tries = 0;
  const followTab = () => {
    const name = selected();
    if (!name) return;
    if (name === wanted()) tries = TRIES;
    else if (tries < TRIES) (tries += 1) && select(wanted());
    else {
      closeAnswers();
      put(`${location.search}#${name}`, true);
    }
  };
  gcd.whenThere(() =>
    new MutationObserver(followTab).observe(document.body, {
      childList: true,
      subtree: true,
      attributeFilter: ['aria-selected'],
    })
  );

  window.addEventListener('popstate', event => {
    if (wanted() !== selected()) select(wanted());
    const shown = document.querySelector('[data-address]')?.dataset.address;
    if (!shown || location.search === `?${shown}`) return;
    clearTimeout(timer);
    const [was, is] = [event.state?.own, ownName()];
    if (new URLSearchParams(location.search).has('own') && was && is && was !== is) {
      // Another own picture was open then: the sliders' places are not of the one that is shown.
      returning = gcd.openOwn(was);
      if (!returning) put(`?${shown}${location.hash}`, false);
      return;
    }
    returning = true;
    document.querySelector('#revisit')?.click();
  });

  return { writeAddress, writePlace, stepsOn };
})());
