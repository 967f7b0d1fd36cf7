// By the keyboard: a link to the sliders, and one stop of the Tab key for each group of buttons or
// choices, in which the arrow keys go on.

(() => {
  const GROUPS = [ // what holds a group, and what is in it
    ['.gcd-page-tools', 'button'],
    ['#tabs [role=tablist]', '[role=tab]'],
    ['#strip', '.gcd-own, #examples button'],
    ['#tools', 'summary, [data-do]:not([data-do=window])'],
    ['.gcd-painter', 'button'],
    ['.gcd-drawing', 'button'],
    ['#actions', 'button'],
    ['.gcd-wall', '.gcd-tile'],
  ];
  const CHOSEN = '[aria-selected=true], [aria-pressed=true], .chosen';
  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

  const members = (element, items) =>
    [...element.querySelectorAll(items)].filter(item => item.offsetParent && !item.disabled);

  // The stop is what has the focus, else what is chosen, else the first.
  const arrange = () => {
    for (const [group, items] of GROUPS)
      for (const element of document.querySelectorAll(group)) {
        const all = members(element, items);
        const stop = all.find(item => item === document.activeElement) ?? all.find(item => item.matches(CHOSEN));
        all.forEach((item, k) => (item.tabIndex = stop ? (item === stop ? 0 : -1) : k ? -1 : 0));
      }
    // Gradio gives each choice of a radio group a name of its own: no group, to the browser.
    for (const input of document.querySelectorAll('#tabs input[type=radio]')) {
      const name = input.closest('.block[id]')?.id;
      if (name && input.name !== name) input.name = name;
    }
  };

  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in STEPS)) return;
    const group = GROUPS.find(([within, items]) => event.target.matches?.(items) && event.target.closest(within));
    if (!group) return;
    event.preventDefault();
    const all = members(event.target.closest(group[0]), group[1]);
    all[(all.indexOf(event.target) + STEPS[event.key] + all.length) % all.length]?.focus();
  });

  document.addEventListener('click', event => {
    if (!event.target.closest('.gcd-skip')) return;
    event.preventDefault();
    document.querySelector('#tabs [data-tab-id=explore][aria-selected=false]')?.click();
    requestAnimationFrame(() =>
      document.querySelector('.gcd-direction:not(.hide) input[type=range]')?.focus()
    );
  });

  const QUIET = 100; // milliseconds without a change of the page: to look at it lays it out
  let waits = 0;
  const soon = () => {
    clearTimeout(waits);
    waits = setTimeout(arrange, QUIET);
  };
  document.addEventListener('focusin', arrange);
  gcd.whenThere(() =>
    new MutationObserver(soon).observe(document.body, { childList: true, subtree: true })
  );
})();
