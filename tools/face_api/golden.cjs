// What the original answers to the middle of each picture, as JSON: the reference of the tests.
//
//   npm install @vladmandic/face-api@1.7.15 @tensorflow/tfjs@4.22.0
//   python -m tools.face_api pictures --out pictures.bin
//   node tools/face_api/golden.cjs pictures.bin tests/golden/face_api.json
//
// pictures.bin holds pictures of 128 x 128 pixels, RGB bytes, one after the other. The package asks
// for @tensorflow/tfjs-node; it is given @tensorflow/tfjs, whose backend is plain JavaScript.

const crypto = require('crypto');
const fs = require('fs');
const Module = require('module');
const path = require('path');

const here = Module.createRequire(path.join(process.cwd(), 'package.json'));
const resolve = Module._resolveFilename;
Module._resolveFilename = (name, ...rest) => (name === '@tensorflow/tfjs-node'
  ? here.resolve('@tensorflow/tfjs') : resolve(name, ...rest));
const tf = here('@tensorflow/tfjs');
const faceapi = here('@vladmandic/face-api/dist/face-api.node.js');
const models = path.join(path.dirname(here.resolve('@vladmandic/face-api/package.json')), 'model');

const SIDE = 128;
const MARGIN = 16;
const FACE = SIDE - 2 * MARGIN;

async function main(source, target) {
  await tf.setBackend('cpu');
  const { ageGenderNet, faceExpressionNet, faceRecognitionNet } = faceapi.nets;
  for (const net of [ageGenderNet, faceExpressionNet, faceRecognitionNet]) {
    await net.loadFromDisk(models);
  }
  const bytes = fs.readFileSync(source);
  const answers = [];
  for (let offset = 0; offset < bytes.length; offset += SIDE * SIDE * 3) {
    const picture = tf.tensor3d(bytes.subarray(offset, offset + SIDE * SIDE * 3), [SIDE, SIDE, 3]);
    const face = tf.slice3d(picture, [MARGIN, MARGIN, 0], [FACE, FACE, 3]);
    const { age } = await ageGenderNet.forward(face);
    const expressions = await faceExpressionNet.forward(face);
    const descriptor = await faceRecognitionNet.computeFaceDescriptor(face);
    answers.push({
      age: age.dataSync()[0],
      expressions: [...expressions.dataSync()],
      descriptor: [...descriptor],
    });
  }
  const table = {
    package: `@vladmandic/face-api ${faceapi.version}`,
    runtime: `@tensorflow/tfjs ${tf.version.tfjs}, backend ${tf.getBackend()}`,
    pictures_sha256: crypto.createHash('sha256').update(bytes).digest('hex'),
    answers,
  };
  fs.writeFileSync(target, `${JSON.stringify(table)}\n`);
}

main(...process.argv.slice(2));
