// Any picture or chart as a PNG of its own, with what it shows written below it.

(() => {
  const SIDE = 640; // pixels of a saved picture's width, at least
  const LINE = 20; // of a line below it
  const DRAWN = ['stroke', 'stroke-width', 'stroke-dasharray', 'fill', 'font', 'opacity', 'text-anchor'];

  // What is decoded is synthetic, and of what; the original is not, and a search's loss is neither.
  const about = card => {
    if (card.matches('.original')) return [seen(card.querySelector('.note')), titleOfDomain()];
    const place = card.closest('#losses') ? null : document.querySelector('[data-about]');
    if (!place) return [titleOfDomain()];
    const plain = document.body.classList.contains('plain');
    return place.dataset[plain ? 'plainAbout' : 'about'].split('\n');
  };
  const titleOfDomain = () =>
    document.querySelector('[data-about]')?.dataset.about.split(' \u00b7 ').pop() ?? '';

  const canvasOf = (width, height, paint, lines) => {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height: height + LINE * lines.length + 10 });
    const context = canvas.getContext('2d');
    context.fillStyle = '#000';
    context.fillRect(0, 0, canvas.width, canvas.height);
    paint(context);
    context.fillStyle = '#fff';
    context.font = '14px system-ui, sans-serif';
    lines.forEach((line, i) => context.fillText(line, 8, height + LINE * (i + 1), width - 16));
    return canvas;
  };

  // What lies in a frame, from the bottom up, with all pixels that it has and not as zoomed.
  const ofFrame = (frame, lines) => {
    const layers = [...frame.querySelectorAll(':scope > img, :scope > canvas')];
    const sizes = layers.map(layer => [layer.naturalWidth ?? layer.width, layer.naturalHeight ?? layer.height]);
    const [own, tall] = sizes.sort((a, b) => b[0] - a[0])[0] ?? [0, 0];
    const width = Math.max(SIDE, own);
    const seen = (width * frame.clientHeight) / frame.clientWidth;
    const height = own === width && Math.abs(tall - seen) < 0.02 * seen ? tall : Math.round(seen);
    const cut = frame.querySelector('.before');
    const share = cut ? parseFloat(getComputedStyle(frame).getPropertyValue('--at') || '50') / 100 : 1;
    return canvasOf(
      width,
      height,
      context => {
        for (const layer of layers) context.drawImage(layer, 0, 0, width, height);
        const before = cut?.querySelector('img');
        if (!before) return;
        context.save();
        context.rect(0, 0, width * share, height);
        context.clip();
        context.drawImage(before, 0, 0, width, height);
        context.restore();
      },
      lines
    );
  };

  const ofChart = async (svg, lines) => {
    const { width, height } = svg.viewBox.baseVal;
    const scale = 2;
    const copy = svg.cloneNode(true);
    const originals = svg.querySelectorAll('*');
    copy.querySelectorAll('*').forEach((part, i) => {
      const seen = getComputedStyle(originals[i]);
      for (const name of DRAWN) part.style.setProperty(name, seen.getPropertyValue(name));
    });
    copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
    Object.entries({ width: width * scale, height: height * scale }).forEach(([name, value]) =>
      copy.setAttribute(name, value)
    );
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
    await image.decode();
    const paint = context => {
      context.fillStyle = getComputedStyle(svg.closest('.gcd-card')).backgroundColor;
      context.fillRect(0, 0, width * scale, height * scale);
      context.drawImage(image, 0, 0);
    };
    return canvasOf(width * scale, height * scale, paint, lines);
  };

  const seen = element => {
    const copy = element?.cloneNode(true);
    const hidden = document.body.classList.contains('plain') ? '.expert' : '.plain';
    copy?.querySelectorAll(`${hidden}, .sr, button, small`).forEach(part => part.remove());
    return copy?.textContent.replace(/\s+/g, ' ').trim() ?? '';
  };

  document.addEventListener('click', async event => {
    const button = event.target.closest('[data-save]');
    if (!button) return;
    const card = button.closest('figure, .gcd-card');
    const frame = card.querySelector('.frame');
    const title = seen(card.querySelector('figcaption b, h2'));
    const lines = [title, ...about(card)];
    const canvas = frame ? ofFrame(frame, lines) : await ofChart(card.querySelector('svg.gcd-plot'), lines);
    const link = document.createElement('a');
    link.download = `${title.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') || 'picture'}.png`;
    link.href = canvas.toDataURL('image/png');
    link.click();
  });
})();
