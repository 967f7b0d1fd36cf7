// The changed picture, put together in the browser from the opened picture and two small planes:
//
//     picture = clip((1 - U(lost)) x + U(offset))
//
// x is the opened picture with all its pixels. `lost` (0 to 1) and `offset` (-1 to 1) have the
// generator's size; U brings them to the picture's (bicubic, a = -0.5), as the server does. They
// are brought to its width here, and to its height where the picture is put together: in a fragment
// shader, or without WebGL in a loop.

Object.assign(window.gcd, (() => {
  const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i; // no graphics card
  const [MOST, LEAST] = [2 ** 19, 2 ** 16]; // values of a moving picture without a graphics card
  const FRAME = 10; // milliseconds that putting it together may take
  const PATIENCE = 5; // pictures in turn that took longer, after which they have half the values
  const draws = canvas => canvas.getContext('2d', { willReadFrequently: true });
  const canvasOf = (width, height) => Object.assign(document.createElement('canvas'), { width, height });

  // The levels of a sheet, point by point.
  const cells = async (sheet, { size, columns, alphas }) => {
    const image = new Image();
    image.src = `data:image/webp;base64,${sheet}`;
    await image.decode();
    const context = draws(canvasOf(image.naturalWidth, image.naturalHeight));
    context.drawImage(image, 0, 0);
    const levels = new Uint8Array(alphas.length * size * size);
    for (let k = 0, next = 0; k < alphas.length; k++) {
      const [x, y] = [(k % columns) * size, Math.floor(k / columns) * size];
      const { data } = context.getImageData(x, y, size, size);
      for (let p = 0; p < data.length; p += 4) levels[next++] = data[p];
    }
    return levels;
  };

  // The planes at a place between points i and j: of each pixel the offsets, then what is lost. Of
  // the point at rest both are 0: there the picture is the opened one.
  const planesAt = (film, { i, j, share }) => {
    const { size, basis, low, high, offsets, lost, alphas } = film;
    const still = k => lost && !alphas[k];
    const [u, v] = [still(i) ? 0 : 1 - share, still(j) ? 0 : share];
    const [pixels, channels] = [size * size, basis.length];
    const [a, b, n] = [i * pixels, j * pixels, channels + 1];
    const values = new Float32Array(pixels * n);
    offsets.forEach((levels, k) => {
      const [base, step] = [low[k] * (u + v), (high[k] - low[k]) / 255];
      for (let c = 0; c < channels; c++)
        for (let p = 0, to = c; p < pixels; p++, to += n)
          values[to] += basis[c][k] * (base + step * (u * levels[a + p] + v * levels[b + p]));
    });
    for (let p = 0, to = channels; p < pixels; p++, to += n)
      values[to] = lost ? (u * lost[a + p] + v * lost[b + p]) / 255 : 1;
    return { values, size, n };
  };

  // For each pixel of a line of `to` the first of the line of `from` that counts, and the weights
  // of those from there on; so many that they are a multiple of 4.
  const cubic = x => {
    x = Math.abs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  };
  const kept = new Map();
  const taps = (from, to) => {
    const key = `${from} ${to}`;
    if (kept.has(key)) return kept.get(key);
    const scale = from / to;
    const wide = Math.max(scale, 1); // antialiased where it shrinks
    const count = 4 * Math.ceil(wide);
    const first = new Int32Array(to);
    const weights = new Float32Array(to * count);
    for (let k = 0; k < to; k++) {
      const centre = scale * (k + 0.5);
      const begin = (first[k] = Math.max(Math.trunc(centre - 2 * wide + 0.5), 0));
      const end = Math.min(Math.trunc(centre + 2 * wide + 0.5), from);
      let total = 0;
      for (let q = begin; q < end; q++) total += cubic((q - centre + 0.5) / wide);
      for (let q = begin; q < end; q++)
        weights[k * count + q - begin] = cubic((q - centre + 0.5) / wide) / total;
    }
    kept.set(key, { count, first, weights });
    if (kept.size > 16) kept.delete(kept.keys().next().value);
    return kept.get(key);
  };

  // Planes of `size` rows, brought to a width.
  const across = ({ values, size, n }, width) => {
    const { count, first, weights } = taps(size, width);
    const wide = new Float32Array(size * width * n);
    const last = n * (size - 1);
    for (let x = 0; x < width; x++)
      for (let q = 0; q < count; q += 4) {
        const [a, b, c, d] = [0, 1, 2, 3].map(k => Math.min(n * (first[x] + q + k), last));
        const [s, t, u, v] = weights.subarray(x * count + q, x * count + q + 4);
        for (let y = 0, from = 0, to = x * n; y < size; y++, from += size * n, to += width * n)
          for (let k = 0; k < n; k++)
            wide[to + k] += s * values[from + a + k] + t * values[from + b + k] + u * values[from + c + k] + v * values[from + d + k];
      }
    return wide;
  };

  // Row `y` of planes that were brought to a width, of `height` rows.
  const row = (line, wide, { count, first, weights }, y, size) => {
    const length = line.length;
    line.fill(0);
    for (let q = 0; q < count; q += 4) {
      const [a, b, c, d] = [0, 1, 2, 3].map(k => Math.min(first[y] + q + k, size - 1) * length);
      const [s, t, u, v] = weights.subarray(y * count + q, y * count + q + 4);
      for (let k = 0; k < length; k++)
        line[k] += s * wide[a + k] + t * wide[b + k] + u * wide[c + k] + v * wide[d + k];
    }
  };

  const VERTEX = `#version 300 es
    void main() { gl_Position = vec4(ivec2[](ivec2(-1), ivec2(3, -1), ivec2(-1, 3))[gl_VertexID], 0, 1); }`;
  const FRAGMENT = `#version 300 es
    precision highp float;
    precision highp int;
    uniform highp sampler2D planes;
    uniform sampler2D source;
    uniform int side, height;
    uniform bool grey;
    out vec4 colour;
    float cubic(float x) {
      x = abs(x);
      if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
      return x < 2.0 ? ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0 : 0.0;
    }
    void main() {
      ivec2 at = ivec2(gl_FragCoord.x, height - 1 - int(gl_FragCoord.y));
      float scale = float(side) / float(height), wide = max(scale, 1.0);
      float centre = scale * (float(at.y) + 0.5), total = 0.0;
      int begin = max(int(centre - 2.0 * wide + 0.5), 0);
      int end = min(int(centre + 2.0 * wide + 0.5), side);
      vec4 sum = vec4(0);
      for (int q = begin; q < end; q++) {
        float weight = cubic((float(q) - centre + 0.5) / wide);
        sum += weight * texelFetch(planes, ivec2(at.x, q), 0);
        total += weight;
      }
      sum /= total;
      float lost = clamp(grey ? sum.g : sum.a, 0.0, 1.0);
      vec3 offset = grey ? sum.rrr : sum.rgb;
      colour = vec4(clamp((1.0 - lost) * texelFetch(source, at, 0).rgb + offset, 0.0, 1.0), 1);
    }`;

  // Puts pictures together on a graphics card, in a canvas that keeps what was drawn; null without.
  const onCard = () => {
    const canvas = canvasOf(1, 1);
    const gl = canvas.getContext('webgl2', { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true });
    if (!gl) return null;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
    gl.useProgram(program);
    const uniform = name => gl.getUniformLocation(program, name);
    const [side, height, grey] = ['side', 'height', 'grey'].map(uniform);
    ['planes', 'source'].forEach((name, unit) => {
      gl.uniform1i(uniform(name), unit);
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      for (const part of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER])
        gl.texParameteri(gl.TEXTURE_2D, part, gl.NEAREST);
    });
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    let held = null; // the source that is on the card
    const draw = (planes, source) => {
      const { width } = source;
      if (canvas.width !== width || canvas.height !== source.height)
        Object.assign(canvas, { width, height: source.height });
      gl.viewport(0, 0, width, source.height);
      if (held !== source) {
        gl.activeTexture(gl.TEXTURE1);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, source.pixels);
        held = source;
      }
      const [inner, format] = planes.n === 2 ? [gl.RG32F, gl.RG] : [gl.RGBA32F, gl.RGBA];
      gl.activeTexture(gl.TEXTURE0);
      gl.texImage2D(gl.TEXTURE_2D, 0, inner, width, planes.size, 0, format, gl.FLOAT, across(planes, width));
      gl.uniform1i(side, planes.size);
      gl.uniform1i(height, source.height);
      gl.uniform1i(grey, planes.n === 2 ? 1 : 0);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    };
    const about = gl.getExtension('WEBGL_debug_renderer_info');
    if (SOFTWARE.test(gl.getParameter(about ? about.UNMASKED_RENDERER_WEBGL : gl.RENDERER)))
      return null; // the loop is faster than a card that is only played
    return { canvas, draw, works: () => !gl.isContextLost() };
  };

  // A row of planes put over a row of the source that begins at a byte.
  const paintGrey = (result, source, line, to) => {
    for (let at = 0; at < line.length; at += 2, to += 4) {
      const lost = line[at + 1];
      const kept = lost <= 0 ? 1 : lost >= 1 ? 0 : 1 - lost;
      const level = kept * source[to] + 255 * line[at];
      result[to] = result[to + 1] = result[to + 2] = level;
    }
  };
  const paintColours = (result, source, line, to) => {
    for (let at = 0; at < line.length; at += 4, to += 4) {
      const lost = line[at + 3];
      const kept = lost <= 0 ? 1 : lost >= 1 ? 0 : 1 - lost;
      result[to] = kept * source[to] + 255 * line[at];
      result[to + 1] = kept * source[to + 1] + 255 * line[at + 1];
      result[to + 2] = kept * source[to + 2] + 255 * line[at + 2];
    }
  };

  // The same without a graphics card.
  const inLoop = () => {
    const canvas = canvasOf(1, 1);
    const context = draws(canvas);
    let picture = null;
    const draw = (planes, { width, height, pixels: { data } }) => {
      if (!picture || canvas.width !== width || canvas.height !== height) {
        Object.assign(canvas, { width, height });
        picture = context.createImageData(width, height);
        picture.data.fill(255);
      }
      const { n, size } = planes;
      const [wide, tall, line] = [across(planes, width), taps(size, height), new Float32Array(width * n)];
      const paint = n === 2 ? paintGrey : paintColours;
      for (let y = 0; y < height; y++) {
        row(line, wide, tall, y, size);
        paint(picture.data, data, line, 4 * y * width);
      }
      context.putImageData(picture, 0, 0);
    };
    return { canvas, draw, works: () => true, partial: true };
  };

  // A picture that changes are put into, by the element that shows it; null until that has it. The
  // opened one and the generator's drawing of it are kept.
  const sources = new Map();
  const sourcePicture = image => {
    const address = image.getAttribute('src');
    if (sources.has(address)) return sources.get(address);
    if (!image.complete || !image.naturalWidth) {
      image.decode().then(gcd.redraw, () => {});
      return null;
    }
    sources.set(address, { image, width: image.naturalWidth, height: image.naturalHeight, sizes: new Map() });
    if (sources.size > 2) sources.delete(sources.keys().next().value);
    return sources.get(address);
  };

  // Its pixels at a size; of the sizes that were asked for, a few are kept.
  const sized = ({ image, sizes }, width, height) => {
    const key = `${width} ${height}`;
    if (!sizes.has(key)) {
      const context = draws(canvasOf(width, height));
      context.imageSmoothingQuality = 'high';
      context.drawImage(image, 0, 0, width, height);
      sizes.set(key, { width, height, pixels: context.getImageData(0, 0, width, height) });
      if (sizes.size > 4) sizes.delete(sizes.keys().next().value);
    }
    return sizes.get(key);
  };

  // The canvas with planes put over the opened picture: with all its pixels, or where the processor
  // puts it together, with as many as `shown`, an element over which it will lie, has on the screen,
  // and no more than it can make between two frames.
  let drawer = null;
  let [most, slow] = [MOST, 0];
  const composed = (planes, source, shown) => {
    if (!drawer?.works()) drawer = (drawer ? null : onCard()) ?? inLoop();
    let share = 1;
    if (drawer.partial) {
      const seen = (shown.getBoundingClientRect().width * devicePixelRatio) / source.width;
      share = Math.min(1, seen, Math.sqrt(most / (planes.n * source.width * source.height)));
    }
    const [width, height] = [source.width, source.height].map(side => Math.max(1, Math.round(share * side)));
    const pixels = sized(source, width, height);
    const began = performance.now();
    drawer.draw(planes, pixels);
    slow = drawer.partial && performance.now() - began > FRAME ? slow + 1 : 0;
    if (slow === PATIENCE) [most, slow] = [Math.max(most / 2, LEAST), 0];
    return drawer.canvas;
  };

  // How much brighter each pixel is than in the opened picture, at the generator's size.
  const changes = ({ values, size, n }, source) => {
    const { data } = sized(source, size, size).pixels;
    const change = new Float32Array(size * size);
    for (let p = 0; p < change.length; p++) {
      const kept = 1 - values[p * n + n - 1];
      for (let c = 0; c < n - 1; c++) {
        const before = data[4 * p + c] / 255;
        const after = Math.min(Math.max(kept * before + values[p * n + c], 0), 1);
        change[p] += (after - before) / (n - 1);
      }
    }
    return change;
  };

  return { cells, planesAt, sourcePicture, composed, changes };
})());
