// What a button is doing, and for how long: on the button, and in words where one looks.

Object.assign(window.gcd, (() => {
  const SOON = 300; // milliseconds, within which nothing needs to be said
  const FEW = 3; // times, of which the longest says how long it may take

  // A kind of work, one at a time. `place` finds the element to write to for a button, or none.
  const work = place => {
    let [began, timer] = [0, 0];
    let [button, words] = [null, ''];
    const lasts = {}; // seconds that such work took the last few times, by its button
    const tell = () => {
      const seconds = Math.round((performance.now() - began) / 1000);
      const most = Math.max(0, ...(lasts[button.id] ?? []));
      const before = seconds <= most ? `; it took up to ${most} s before` : '';
      const line = place(button);
      if (line) line.innerHTML = `${words}: <b>${seconds} s</b>${before}`;
      button.dataset.doing = `${seconds} s`;
    };
    const ends = () => {
      clearInterval(timer);
      const took = Math.max(1, Math.round((performance.now() - began) / 1000));
      if (button?.dataset.doing) lasts[button.id] = [took, ...(lasts[button.id] ?? [])].slice(0, FEW);
      button?.removeAttribute('data-doing');
      button?.removeAttribute('aria-busy');
      button = null;
    };
    const begins = (of, said) => {
      ends();
      [button, words, began] = [of, said, performance.now()];
      if (!button) return;
      button.setAttribute('aria-busy', 'true');
      timer = setTimeout(() => {
        tell();
        timer = setInterval(tell, 500);
      }, SOON);
    };
    return { begins, ends, isUnderWay: () => button !== null };
  };

  // "To flip": the words lie on the changed picture.
  const shown = () => {
    const frame = document.querySelector('#pictures figure.changed .frame');
    const words = frame?.querySelector('.gcd-doing') ?? document.createElement('p');
    if (words.parentNode !== frame) {
      Object.assign(words, { className: 'gcd-doing', role: 'status' });
      frame?.append(words);
    }
    return words;
  };
  const flips = work(shown);
  const flipBegins = name =>
    flips.begins(document.querySelector(`#flip-${name}`), gcd.caption('flipping'));
  const isFlipping = flips.isUnderWay;
  const flipEnds = () => {
    flips.ends();
    document.querySelector('.gcd-doing')?.remove();
  };

  // A file: the words stand in the row of its button, until it is there or was not made. Of two that
  // are made in one row, the words are of the one that was asked for last.
  const READY = 6000; // milliseconds that it is said for
  const lineOf = button => button.parentElement.querySelector('.gcd-making');
  const takeLine = button => {
    lineOf(button)?.remove();
    const line = document.createElement('p');
    Object.assign(line, { className: 'gcd-making', role: 'status' });
    line.dataset.of = button.id;
    button.parentElement.append(line);
    return line;
  };
  const own = button => (lineOf(button)?.dataset.of === button.id ? lineOf(button) : null);
  const files = {}; // work by button
  const makes = (id, format, what) => (...values) => {
    const button = document.querySelector(`#${id}`);
    files[id] ??= work(own);
    takeLine(button);
    files[id].begins(button, gcd.caption(what));
    return gcd.withFormat(format)(...values);
  };
  const ended = (id, how) => {
    const button = document.querySelector(`#${id}`);
    const tell = button.dataset.doing || how === 'failed';
    files[id]?.ends();
    if (!tell) return own(button)?.remove();
    const line = takeLine(button);
    line.innerHTML = gcd.caption(how);
    if (how === 'made') return setTimeout(() => line.remove(), READY);
    line.dataset.failed = ''; // it stays until another file is made, or another picture opened
    line.prepend(`${button.textContent.trim()}: `);
  };
  const made = (id, link) => () => {
    ended(id, 'made');
    gcd.download(link)();
  };
  const notMade = id => () => ended(id, 'failed');

  // What has no line of its own: its button says how long it has been under way.
  const begun = id => (...values) => {
    files[id] ??= work(() => null);
    files[id].begins(document.querySelector(`#${id}`), '');
    return values;
  };
  const done = id => () => files[id]?.ends();

  // Nothing that is under way will be answered.
  const allEnd = () => {
    flipEnds();
    for (const [id, work] of Object.entries(files)) {
      if (work.isUnderWay() && own(document.querySelector(`#${id}`))) ended(id, 'failed');
      else work.ends();
    }
  };

  // How long the map of the picture is waited for. Its place is drawn anew by each answer; the time is
  // that of one map, at one place of the sliders.
  const MAP_TOLD = 2; // seconds, from which on it is said
  let [since, waited] = [0, ''];
  setInterval(() => {
    const wait = document.querySelector('#pictures figure.map .gcd-wait');
    const map = document.querySelector('#pictures figure.map figcaption')?.textContent;
    const where = document.querySelector('#pictures [data-address]')?.dataset.address;
    if (!wait || waited !== `${map} ${where}`) since = 0;
    if (wait) [since, waited] = [since || performance.now(), `${map} ${where}`];
    const seconds = Math.round((performance.now() - since) / 1000);
    if (wait && seconds >= MAP_TOLD && !gcd.isLost()) wait.dataset.seconds = `${seconds} s`;
  }, 500);

  // A second press does nothing while the first one's work lasts; the focus stays on the button.
  document.addEventListener(
    'click',
    event => {
      const button = event.target.closest?.('button[aria-busy=true]');
      if (!button || !(button.id in files)) return;
      event.stopImmediatePropagation();
      event.preventDefault();
    },
    true
  );

  return { flipBegins, flipEnds, isFlipping, makes, made, notMade, begun, done, allEnd };
})());
