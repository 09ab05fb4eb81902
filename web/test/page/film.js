// A film as a file, with marks that are seen and heard at the same moment, and an instrument that notices such marks.

/** A mark: the picture turns white while a tone beeps that is far from those of all stories. */
const MARK_EVERY_MS = 2000;
const MARK_MS = 250;
const MARK_HZ = 6000;
/** Amplitude from which the tone counts as heard; it is played at a quarter of full scale. */
const HEARD = 0.03;
const WHITE = 190;

const tick = ms => new Promise(resolve => setTimeout(resolve, ms));

/** Records a film of so many marks: one colour that a bar walks over, beside a sound of the caller's. */
export async function recordFilm(ctx, { colour, width, height, fps, marks }, sound) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const pen = canvas.getContext('2d');
  const beep = new OscillatorNode(ctx, { frequency: MARK_HZ });
  const gate = new GainNode(ctx, { gain: 0 });
  const out = new MediaStreamAudioDestinationNode(ctx, { channelCount: 2 });
  ctx.createMediaStreamSource(sound).connect(out);
  beep.connect(gate).connect(out);
  beep.start();
  const began = performance.now();
  let lit = false;
  const draw = () => {
    const at = performance.now() - began;
    const mark = at % MARK_EVERY_MS > MARK_EVERY_MS - MARK_MS;
    if (mark !== lit) gate.gain.value = mark ? 0.25 : 0;
    lit = mark;
    pen.fillStyle = mark ? '#fff' : colour;
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = '#888';
    pen.fillRect((at / 10) % (width - 40), height - 40, 40, 40);
  };
  draw();
  const drawing = setInterval(draw, 1000 / fps);
  const stream = new MediaStream([...canvas.captureStream(fps).getTracks(), ...out.stream.getTracks()]);
  const recorder = new MediaRecorder(stream, { mimeType: 'video/webm;codecs=vp8,opus', audioBitsPerSecond: 128_000 });
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise(resolve => (recorder.onstop = resolve));
  recorder.start();
  await tick(marks * MARK_EVERY_MS);
  recorder.stop();
  await stopped;
  clearInterval(drawing);
  beep.stop();
  stream.getTracks().forEach(track => track.stop());
  return new Blob(parts, { type: recorder.mimeType });
}

/** Plays a film again and again; what it shows and sounds like, as a stream. */
export async function playFilm(film) {
  const player = Object.assign(document.createElement('video'), { src: URL.createObjectURL(film), loop: true });
  document.body.append(player);
  await player.play();
  return player.captureStream();
}

/** What arrives of a stream over a connection of this page with itself, picture and sound in streams of their own, as they
 *  come from a server: what the browser and the machine alone do to them. */
export async function overNothing(PeerConnection, stream) {
  const [from, to] = [new PeerConnection(), new PeerConnection()];
  const tracks = stream.getTracks();
  const arrived = new Promise(resolve => {
    const received = {};
    to.ontrack = ({ track }) => {
      received[track.kind] = new MediaStream([track]);
      if (Object.keys(received).length === tracks.length) resolve(received);
    };
  });
  tracks.forEach(track => from.addTrack(track, new MediaStream([track])));
  await describe(from, to);
  await describe(to, from);
  return arrived;
}

/** One side's description, with all its candidates, given to the other. */
async function describe(one, other) {
  await one.setLocalDescription();
  while (one.iceGatheringState !== 'complete') await tick(10);
  await other.setRemoteDescription(one.localDescription);
}

/** Blocks of 128 samples in a row, 32 ms, that make a beep: what is concealed where packets were late clicks at all pitches. */
const BLOCKS = 12;

const EAR = `registerProcessor('ear', class extends AudioWorkletProcessor {
  heard = 0;
  process([[samples]]) {
    if (!samples) return true;
    // Goertzel's algorithm: how much of this one pitch there is.
    const turn = 2 * Math.cos((2 * Math.PI * ${MARK_HZ}) / sampleRate);
    let last = 0, before = 0;
    for (const sample of samples) [last, before] = [sample + turn * last - before, last];
    const power = last * last + before * before - turn * last * before;
    const heard = (2 * Math.sqrt(Math.max(power, 0))) / samples.length > ${HEARD};
    this.heard = heard ? this.heard + 1 : 0;
    if (this.heard === ${BLOCKS}) this.port.postMessage(currentTime - ((${BLOCKS} - 1) * samples.length) / sampleRate);
    return true;
  }
});`;

/** Notes when marks are seen in a video element and heard in a track, by the page's clock. */
export async function watchMarks(ctx, element, track) {
  const [seen, heard] = [[], []];
  const pen = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  let lit = true;
  const onFrame = (_, { expectedDisplayTime }) => {
    pen.drawImage(element, element.videoWidth / 2, element.videoHeight / 2, 8, 8, 0, 0, 1, 1);
    const white = pen.getImageData(0, 0, 1, 1).data.slice(0, 3).every(value => value > WHITE);
    if (white && !lit) seen.push(expectedDisplayTime);
    lit = white;
    element.requestVideoFrameCallback(onFrame);
  };
  element.requestVideoFrameCallback(onFrame);
  await ctx.audioWorklet.addModule(URL.createObjectURL(new Blob([EAR], { type: 'text/javascript' })));
  const ear = new AudioWorkletNode(ctx, 'ear', { numberOfOutputs: 0 });
  ear.port.onmessage = ({ data }) => {
    const { contextTime, performanceTime } = ctx.getOutputTimestamp();
    const at = performanceTime + (data - contextTime) * 1000;
    // One beep may be interrupted.
    if (heard.length === 0 || at - heard.at(-1) > MARK_EVERY_MS / 2) heard.push(at);
  };
  ctx.createMediaStreamSource(new MediaStream([track])).connect(ear);
  return {
    /** Of each mark that was seen and heard: by how much the sound came later, in milliseconds. */
    delays() {
      const nearest = flash => heard.map(beep => beep - flash).sort((a, b) => Math.abs(a) - Math.abs(b))[0];
      return seen.map(nearest).filter(delay => Math.abs(delay) < MARK_EVERY_MS / 2);
    },
  };
}
