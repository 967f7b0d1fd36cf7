// A decoded path played by the browser: while a slider moves along one direction, the picture, the
// map and the numbers follow at the display's rate, blended between the two decoded points next to
// it (compose.js puts the picture together). Once the slider rests, the server is told, and draws
// that place itself.

Object.assign(window.gcd, (() => {
  const REST = 160; // milliseconds without a move, after which the server is told
  const films = new Map(); // what can be played, by direction
  let scales = {}; // by a map's kind, the (r, g, b, opacity) of its levels
  let threshold = 0.5; // of a probability, from which on the label is predicted
  let playing = null; // where the slider is of a film that is shown: { film, alpha }
  let timer = 0;
  const LATE = 1000; // milliseconds after which an answer may not come any more
  let [awaited, late] = [false, 0];

  const setUp = (ofKinds, level) => {
    scales = ofKinds;
    threshold = level;
  };

  // The elements of the changed picture, of the opened one, and of what the changes are put into:
  // where the generator's drawings are shown, its drawing of the opened picture, else that itself.
  const shown = () => {
    const [image, opened, base] = ['figure.changed .frame > img', 'img.source', 'img.base'].map(
      part => document.querySelector(`#pictures ${part}`)
    );
    return [image, opened, base ?? opened];
  };

  // Brings the opened picture to where it is put together, so that the first move does not wait.
  const prepare = film => {
    const [image, , base] = shown();
    const source = image && base && gcd.sourcePicture(base);
    if (source) gcd.composed(gcd.planesAt(film, place(film, 0)), source, image);
  };

  // A direction's film comes, or goes with the image that it was of.
  const film = (name, props, watch) => {
    let newest = 0;
    const load = async () => {
      const mine = ++newest;
      films.delete(name);
      if (!props.value) return;
      const loaded = JSON.parse(props.value);
      const levels = sheet => sheet && gcd.cells(sheet, loaded);
      const [maps, lost, ...offsets] = await Promise.all(
        [loaded.maps, loaded.lost, ...loaded.offsets].map(levels)
      );
      if (mine !== newest) return;
      films.set(name, { ...loaded, name, offsets, maps, lost });
      if (!playing) prepare(films.get(name));
    };
    watch('value', load);
    return load(); // done once it can be played
  };

  // The two points next to a position, and how much the second of them counts.
  const place = (film, alpha) => {
    const last = film.alphas.length - 1;
    let i = film.alphas.findIndex(value => value > alpha) - 1;
    if (i < -1) i = last - 1; // beyond the last point
    i = Math.min(Math.max(i, 0), Math.max(last - 1, 0));
    const j = Math.min(i + 1, last);
    const step = film.alphas[j] - film.alphas[i];
    return { i, j, share: step ? Math.min(Math.max((alpha - film.alphas[i]) / step, 0), 1) : 0 };
  };
  const between = (values, { i, j, share }) => values[i] + (values[j] - values[i]) * share;

  // What is played lies over the picture of a frame; it goes when the server's next picture comes.
  const over = (image, layer) => {
    layer.className = 'film';
    layer.setAttribute('aria-hidden', 'true');
    if (layer.parentNode !== image.parentNode) image.after(layer);
  };

  // The map's levels in their colours, over the opened picture.
  const mapped = document.createElement('canvas');
  const colour = (image, source, levels, size, kind) => {
    const opacity = Number(document.querySelector('#opacity input[type=range]')?.value ?? 0.6);
    if (mapped.width !== size) mapped.width = mapped.height = size;
    const context = mapped.getContext('2d', { willReadFrequently: true });
    const heat = context.createImageData(size, size);
    const scale = new Uint8ClampedArray(scales[kind].flatMap(([r, g, b, strength]) => [r, g, b, strength * opacity]));
    const [words, pixels] = [scale, heat.data].map(bytes => new Uint32Array(bytes.buffer));
    for (let k = 0; k < levels.length; k++) pixels[k] = words[levels[k]];
    context.putImageData(heat, 0, 0);
    if (mapped.parentNode === image.parentNode) return;
    over(image, mapped);
    over(image, source.image.cloneNode());
  };

  const drawMap = (film, at, source, planes) => {
    const figure = document.querySelector('#pictures figure.map');
    const kind = document.querySelector('#overlay input:checked')?.value;
    const image = figure?.querySelector('img');
    if (!figure || !image) return;
    figure.classList.add('playing');
    figure.classList.toggle('behind', kind === 'cells');
    if (kind === 'cells') return; // asks the classifier
    const { size, maps } = film;
    const levels = new Uint8ClampedArray(size * size);
    if (kind === 'bb_lig') {
      const [i, j] = [at.i * levels.length, at.j * levels.length];
      for (let k = 0; k < levels.length; k++) levels[k] = maps[i + k] + (maps[j + k] - maps[i + k]) * at.share;
    } else {
      const full = Math.max(between(film.differences, at), 1e-6);
      gcd.changes(planes, source).forEach((change, k) => {
        levels[k] = 127.5 * (1 + change / full);
      });
    }
    colour(image, source, levels, size, kind);
  };

  // Numbers as the server writes them.
  const percent = p =>
    p > 0 && p < 0.005 ? '<\u20091\u2009%' : p >= 0.995 && p < 1 ? '>\u200999\u2009%'
      : `${(100 * p).toFixed(0)}\u2009%`;
  const logit = p => Math.log(Math.min(Math.max(p, 1e-7), 1 - 1e-7) / (1 - Math.min(Math.max(p, 1e-7), 1 - 1e-7)));
  // A probability in the own scale of its label's question, which the bar states.
  const inScale = (p, { threshold: own, spread, digits, scale }) => {
    if (own === undefined || (spread === undefined && (p === 0 || p === 1))) return percent(p);
    if (spread === undefined) return percent(1 / (1 + Math.exp(-logit(p) - logit(Number(own)))));
    return `${(Number(own) + spread * logit(p)).toFixed(digits)}\u2009${scale}`.trim();
  };
  const crosses = (before, after) => before >= threshold !== after >= threshold;

  // A bar whose label is asked only where another label holds, or does not: its premise.
  const premiseOf = bar =>
    bar.dataset.given && document.querySelector(`#bars .gcd-bar[data-label="${CSS.escape(bar.dataset.given)}"]`);
  const holdsGiven = (bar, p) => ('givenNot' in bar.dataset ? 1 - p : p) >= threshold;
  const lacksPremise = bar => Boolean(premiseOf(bar)) && !holdsGiven(bar, Number(premiseOf(bar).dataset.before));
  const drawPremise = (bar, film, at, p) => {
    const which = film.labels.indexOf(bar.dataset.given);
    if (which < 0) return;
    const holds = holdsGiven(bar, between(film.probabilities.map(row => row[which]), at));
    bar.classList.toggle('unfounded', !holds);
    bar.classList.toggle('applies', holds && lacksPremise(bar));
    bar.querySelector('.ends em').textContent = !holds
      ? `asked only if ${bar.dataset.givenName}`
      : lacksPremise(bar)
        ? `now applies: ${bar.querySelector(`.ends span:${p >= threshold ? 'last' : 'first'}-of-type`).textContent}`
        : bar.matches('.chosen')
          ? 'prediction flipped'
          : 'changes sides';
  };

  const drawBars = (film, at) => {
    for (const bar of document.querySelectorAll('#bars .gcd-bar')) {
      const which = film.labels.indexOf(bar.dataset.label);
      if (which < 0) continue;
      const p = between(film.probabilities.map(row => row[which]), at);
      bar.querySelector('strong').textContent = inScale(p, bar.dataset);
      bar.querySelector('.after').style.width = `${100 * p}%`;
      bar.classList.toggle('flipped', crosses(Number(bar.dataset.before), p) && !lacksPremise(bar));
      drawPremise(bar, film, at, p);
    }
    const lpips = document.querySelector('#bars .lpips b');
    if (lpips) lpips.textContent = between(film.lpips, at).toFixed(3);
    document.querySelector('#bars .gcd-card')?.classList.add('moving');
  };

  const drawCaption = (figure, film, alpha, at, atRest) => {
    const bar = document.querySelector('#bars .gcd-bar.chosen');
    const which = film.labels.indexOf(bar?.dataset.label);
    if (which < 0) return;
    const p = between(film.probabilities.map(row => row[which]), at);
    const crossed = alpha !== 0 && crosses(Number(bar.dataset.before), p);
    const voided = bar.classList.contains('unfounded') && !lacksPremise(bar); // as of drawBars
    const flips = crossed && !voided && !lacksPremise(bar);
    figure.classList.toggle('flipped', flips);
    figure.classList.remove('doubtful'); // the server says so once the slider rests
    const number = figure.querySelector('figcaption .number');
    if (number) number.textContent = inScale(p, bar.dataset);
    const title = figure.querySelector('figcaption b[data-moved]');
    const moved = flips ? 'counterfactual' : !crossed ? 'changed' : voided ? 'voided' : 'unasked';
    if (title) title.innerHTML = gcd.caption(alpha === 0 ? atRest : moved);
    return p;
  };

  const drawCurve = (film, alpha, p) => {
    const plot = document.querySelector('#curve svg.gcd-plot');
    document.querySelector('#curve .gcd-card')?.classList.add('moving');
    if (plot?.dataset.direction !== film.name) return;
    const { width, height } = plot.viewBox.baseVal;
    const [left, right, most, top, bottom] = ['left', 'right', 'most', 'top', 'bottom'].map(name =>
      Number(plot.dataset[name])
    );
    const x = width * (left + (right - left) * (alpha + most) / (2 * most));
    const y = height * (top + (bottom - top) * (1 - p));
    const line = plot.querySelector('line.here');
    line?.setAttribute('x1', x);
    line?.setAttribute('x2', x);
    plot.querySelector('circle.here')?.setAttribute('cx', x);
    plot.querySelector('circle.here')?.setAttribute('cy', y);
  };

  const draw = () => {
    const { film, alpha } = playing;
    const [image, opened, under] = shown();
    const [source, base] = [opened, under].map(element => image && element && gcd.sourcePicture(element));
    if (!source || !base) return;
    const at = place(film, alpha);
    const planes = gcd.planesAt(film, at);
    over(image, gcd.composed(planes, base, image));
    drawMap(film, at, source, planes);
    drawBars(film, at);
    const atRest = film.lost && base === source ? 'unchanged' : 'reconstruction';
    drawCurve(film, alpha, drawCaption(image.closest('figure'), film, alpha, at, atRest));
  };

  const tell = () => {
    clearTimeout(timer);
    timer = 0;
    awaited = true;
    clearTimeout(late);
    late = setTimeout(() => awaited && gcd.writePlace(), LATE);
    document.querySelector('#moved')?.click();
  };

  // What the server says of the place replaces what was played, unless the slider moves on.
  const redraw = () => {
    awaited = Boolean(timer);
    if (playing && timer) draw();
    else playing = null;
  };

  const alone = name =>
    [...document.querySelectorAll('.gcd-direction')].every(
      row =>
        row.id === `direction-${name}` ||
        !Number(row.querySelector('input[type=range]')?.value ?? 0)
    );

  // Plays a direction as far as `alpha`, where it can; tells the server once it rests.
  const play = (name, alpha) => {
    const film = films.get(name);
    if (!film || !alone(name)) {
      playing = null;
      setTimeout(tell);
      return;
    }
    const another = document.querySelector('#curve svg.gcd-plot')?.dataset.direction !== name;
    const begins = playing?.film !== film;
    playing = { film, alpha };
    draw();
    if (begins && another) setTimeout(tell); // its curve is wanted at once
    clearTimeout(timer);
    timer = setTimeout(tell, REST);
  };

  document.addEventListener('input', event => {
    const input = event.target;
    if (!input.matches?.('.gcd-direction input')) return;
    const alpha = input.value === '' ? NaN : Number(input.value);
    if (Number.isFinite(alpha)) play(input.closest('.gcd-direction').id.split('-')[1], alpha);
  });
  document.addEventListener('change', event => {
    if (event.target.matches?.('.gcd-direction input') && timer) tell(); // let go
  });

  // Plays the direction that the curve is of, from end to end and back, by moving its slider; a
  // second click, a key or a hand on a slider stops it.
  const PASS = 3000; // milliseconds from one end to the other
  let sweeping = 0;
  const stop = () => {
    cancelAnimationFrame(sweeping);
    sweeping = 0;
    const button = document.querySelector('#sweep');
    button?.classList.remove('busy');
    if (button) button.textContent = button.dataset.words;
  };
  const sweep = () => {
    if (sweeping) return stop();
    const name = document.querySelector('#curve svg.gcd-plot')?.dataset.direction ?? 'g';
    const film = films.get(name);
    if (!film) return; // not decoded yet
    for (const row of document.querySelectorAll('.gcd-direction'))
      if (row.id !== `direction-${name}` && Number(row.querySelector('input[type=range]')?.value ?? 0))
        gcd.moveSlider(row.id.split('-')[1], 0);
    const button = document.querySelector('#sweep');
    button.dataset.words = button.textContent;
    button.classList.add('busy');
    button.textContent = 'Stop';
    const most = film.alphas[film.alphas.length - 1];
    let began = 0;
    const step = now => {
      began ||= now - PASS / 2; // from where nothing is changed
      const at = ((now - began) / PASS) % 2;
      gcd.moveSlider(name, most * (2 * (at < 1 ? at : 2 - at) - 1));
      sweeping = requestAnimationFrame(step);
    };
    sweeping = requestAnimationFrame(step);
  };
  for (const name of ['pointerdown', 'keydown'])
    document.addEventListener(
      name,
      event => sweeping && !event.target.closest?.('#sweep') && stop(),
      true
    );

  return { setUp, film, redraw, sweep };
})());
