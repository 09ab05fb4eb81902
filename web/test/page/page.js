// One attendee, driven by a story through `page.evaluate`: the unmodified SDK with a tone for a voice and a coloured,
// counting canvas for a face, and instruments on what arrives. Nothing here decides what is right; stories do.
import * as sdk from 'amazon-chime-sdk-js';
import { SdkSignalFrame } from 'amazon-chime-sdk-js/build/signalingprotocol/SignalingProtocol.js';
import { overNothing, playFilm, recordFilm, watchMarks } from './film.js';

const FRAME_NAMES = Object.fromEntries(Object.entries(SdkSignalFrame.Type).map(([name, number]) => [number, name]));

// ---- what crosses the wire, seen without touching it ---------------------------------------------------------

/** Every signaling frame of this page, decoded: `{at, out, type, frame, socket}`. */
const frames = [];
/** Every socket's `{url, protocols, opened, closed: {code}}`. */
const sockets = [];
/** Every peer connection made, newest last. */
const peers = [];

let newest;
const PlainWebSocket = window.WebSocket;
window.WebSocket = class extends PlainWebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    const record = { url, protocols, openedAt: null, closed: null };
    this.number = sockets.push(record) - 1;
    newest = this;
    this.addEventListener('open', () => (record.openedAt = performance.now()));
    this.addEventListener('close', event => (record.closed = { code: event.code, clean: event.wasClean }));
    this.addEventListener('message', event => note(false, new Uint8Array(event.data), this.number));
  }
  send(bytes) {
    note(true, new Uint8Array(bytes), this.number);
    super.send(bytes);
  }
};

function note(out, bytes, socket) {
  let frame;
  try {
    frame = SdkSignalFrame.toObject(SdkSignalFrame.decode(bytes.subarray(1)), { longs: Number, enums: Number });
  } catch (error) {
    frame = { undecodable: String(error) };
  }
  frames.push({ at: performance.now(), out, type: FRAME_NAMES[frame.type] ?? 'undecodable', frame, socket, first: bytes[0] });
}

const PlainPeerConnection = window.RTCPeerConnection;
/** Names of the video codecs that this page's browser shall know; null for all that it has. */
let knownCodecs = null;
window.RTCPeerConnection = class extends PlainPeerConnection {
  constructor(...given) {
    super(...given);
    peers.push(this);
  }
  addTransceiver(trackOrKind, ...more) {
    const transceiver = super.addTransceiver(trackOrKind, ...more);
    if (knownCodecs && (trackOrKind.kind ?? trackOrKind) === 'video') {
      const known = ({ mimeType }) => [...knownCodecs, 'rtx'].includes(mimeType.split('/')[1]);
      transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter(known));
    }
    return transceiver;
  }
};

// ---- a voice and a face --------------------------------------------------------------------------------------

/** As the microphone hears it. */
const PLAIN_SOUND = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

let context;
const audioContext = () => (context ??= new AudioContext({ sampleRate: 48000 }));
let toneGain;

/** A microphone that hears one pure tone at a quarter of full scale. */
function toneStream(hz) {
  const ctx = audioContext();
  const oscillator = new OscillatorNode(ctx, { frequency: hz });
  const gain = new GainNode(ctx, { gain: 0.25 });
  const out = new MediaStreamAudioDestinationNode(ctx, { channelCount: 1 });
  oscillator.connect(gain).connect(out);
  oscillator.start();
  return { stream: out.stream, gain };
}

/** The same in stereo, with another tone on each side. */
function stereoStream(leftHz, rightHz) {
  const ctx = audioContext();
  const sides = new ChannelMergerNode(ctx, { numberOfInputs: 2 });
  for (const [side, frequency] of [leftHz, rightHz].entries()) {
    const oscillator = new OscillatorNode(ctx, { frequency });
    oscillator.connect(new GainNode(ctx, { gain: 0.25 })).connect(sides, 0, side);
    oscillator.start();
  }
  const out = new MediaStreamAudioDestinationNode(ctx, { channelCount: 2 });
  sides.connect(out);
  return out.stream;
}

/** Squares in a row of those that carry a number: eight bits between two marks. */
const ROW_SQUARES = 10;
/** Marks before and after the number of a frame, and of its sender: as in the clips of `campanile-client`. */
const [FRAME_MARKS, SENDER_MARKS] = ['10', '01'];

/** Draws a number of eight bits as a row of squares, white for 1, between two marks. */
function drawNumber(pen, number, y, size, [before, after]) {
  const bits = before + (number & 255).toString(2).padStart(8, '0') + after;
  [...bits].forEach((bit, column) => {
    pen.fillStyle = bit === '1' ? '#fff' : '#000';
    pen.fillRect(column * size, y, size, size);
  });
}

/** A camera that sees one colour, with a bar that walks and a number that counts, so that no two frames are equal. With
 *  a `sender`, that number and the frame's are there for machines to read. */
function faceStream({ colour, width = 640, height = 360, fps = 15, busy = false, sender = null }) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext('2d');
  let count = 0;
  const draw = () => {
    pen.fillStyle = colour;
    pen.fillRect(0, 0, width, height);
    // What no encoder can foretell, so that it takes all the bits it may.
    for (let spot = 0; busy && spot < 600; spot++) {
      pen.fillStyle = `hsl(${Math.random() * 360} 90% ${Math.random() * 100}%)`;
      pen.fillRect(Math.random() * width, Math.random() * height, 30, 30);
    }
    pen.fillStyle = '#fff';
    pen.fillRect(((count * 8) % (width - 40)) | 0, height - 40, 40, 40);
    pen.font = `${height >> 3}px sans-serif`;
    if (sender === null) {
      pen.fillText(String(count), 20, height >> 2);
    } else {
      const size = width / ROW_SQUARES;
      drawNumber(pen, count, 0, size, FRAME_MARKS);
      drawNumber(pen, sender, size, size, SENDER_MARKS);
    }
    count++;
  };
  draw();
  setInterval(draw, 1000 / fps);
  return canvas.captureStream(fps);
}

// ---- the session ---------------------------------------------------------------------------------------------

/** What the SDK called back, in order: `{at, name, ...}`. */
const events = [];
const say = (name, more = {}) => events.push({ at: performance.now(), name, ...more });

const tiles = new Map();
const volumes = new Map();
let session, av, ear, analyser, analysed, self;

function describeTile(tile) {
  const { tileId, localTile, isContent, active, paused, poorConnection, boundAttendeeId, boundExternalUserId, streamId } = tile;
  return { tileId, localTile, isContent, active, paused, poorConnection, boundAttendeeId, boundExternalUserId, streamId };
}

/** Makes the session of `{Meeting, Attendee}` without starting it. */
async function prepare(joinInfo, options = {}) {
  const logger = new sdk.ConsoleLogger('sdk', sdk.LogLevel[options.log ?? 'WARN']);
  const configuration = new sdk.MeetingSessionConfiguration(joinInfo.Meeting, joinInfo.Attendee);
  if (options.signalingUrl) configuration.urls.signalingURL = options.signalingUrl;
  if (options.audioHostUrl !== undefined) configuration.urls.audioHostURL = options.audioHostUrl;
  knownCodecs = options.knownCodecs ?? null;
  if (options.svc) configuration.enableSVC = true;
  if (options.simulcast) configuration.enableSimulcastForUnifiedPlanChromiumBasedBrowsers = true;
  if (options.attendeePresenceTimeoutMs) configuration.attendeePresenceTimeoutMs = options.attendeePresenceTimeoutMs;
  if (options.blind) configuration.videoDownlinkBandwidthPolicy = new sdk.NoVideoDownlinkBandwidthPolicy();
  if (options.priority) {
    const config = new sdk.VideoPriorityBasedPolicyConfig();
    if (options.adaption) config.serverSideNetworkAdaption = sdk.ServerSideNetworkAdaption[options.adaption];
    lab.policy = new sdk.VideoPriorityBasedPolicy(logger, config);
    lab.policy.addObserver({
      tileWillBePausedByDownlinkPolicy: tileId => say('tilePaused', { tileId }),
      tileWillBeUnpausedByDownlinkPolicy: tileId => say('tileUnpaused', { tileId }),
    });
    configuration.videoDownlinkBandwidthPolicy = lab.policy;
  }
  self = configuration.credentials.attendeeId;
  session = new sdk.DefaultMeetingSession(configuration, logger, new sdk.DefaultDeviceController(logger));
  av = session.audioVideo;
  av.addObserver({
    audioVideoDidStartConnecting: again => say('connecting', { again }),
    audioVideoDidStart: () => say('started'),
    audioVideoDidStop: status => say('stopped', { code: status.statusCode() }),
    videoTileDidUpdate: tile => onTile(tile),
    videoTileWasRemoved: tileId => {
      tiles.get(tileId)?.element?.remove();
      tiles.delete(tileId);
      say('tileRemoved', { tileId });
    },
    videoAvailabilityDidChange: ({ canStartLocalVideo }) => say('availability', { canStartLocalVideo }),
    connectionDidBecomePoor: () => say('poor'),
    videoSendDidBecomeUnavailable: () => say('videoSendUnavailable'),
    remoteVideoSourcesDidChange: sources => say('sources', { sources: sources.map(one => one.attendee) }),
    encodingSimulcastLayersDidChange: layers => say('layers', { layers }),
  });
  av.addContentShareObserver({
    contentShareDidStart: () => say('contentStarted'),
    contentShareDidStop: () => say('contentStopped'),
  });
  av.realtimeSubscribeToAttendeeIdPresence((attendeeId, present, externalUserId, dropped) => {
    say('presence', { attendeeId, present, externalUserId, dropped });
    if (present && !volumes.has(attendeeId)) {
      volumes.set(attendeeId, { volume: null, muted: null, signal: null, changes: 0 });
      av.realtimeSubscribeToVolumeIndicator(attendeeId, (_, volume, muted, signal) => {
        const known = volumes.get(attendeeId);
        known.changes++;
        if (volume !== null) known.volume = volume;
        if (muted !== null) known.muted = muted;
        if (signal !== null) known.signal = signal;
      });
    }
  });
  av.realtimeSubscribeToReceiveDataMessage('story', message =>
    say('data', {
      text: message.text(),
      from: message.senderAttendeeId,
      fromUser: message.senderExternalUserId,
      throttled: message.throttled,
      timestampMs: message.timestampMs,
    }),
  );
  av.subscribeToActiveSpeakerDetector(new sdk.DefaultActiveSpeakerPolicy(), ids => say('speakers', { ids }));
  if (options.stereo) av.setAudioProfile(sdk.AudioProfile.fullbandMusicStereo());
  if (options.tone) {
    const tone = toneStream(options.tone);
    toneGain = tone.gain;
    await av.startAudioInput(tone.stream);
  }
  // The browser's own microphone: where no audio device is, Firefox's audio contexts stay suspended, and its voice is none.
  if (options.microphone) await av.startAudioInput(await navigator.mediaDevices.getUserMedia({ audio: PLAIN_SOUND }));
  ear = document.createElement('audio');
  document.body.append(ear);
  await av.bindAudioElement(ear);
  if (options.muted) av.realtimeMuteLocalAudio();
}

/** Binds every tile to a video element of its own and counts the frames that it shows. */
function onTile(state) {
  let tile = tiles.get(state.tileId);
  if (!tile) {
    tile = { frames: 0, firstFrameAt: null, longestGapMs: 0, lastFrameAt: null };
    tiles.set(state.tileId, tile);
  }
  tile.state = describeTile(state);
  if (state.boundAttendeeId && !tile.element) {
    tile.element = Object.assign(document.createElement('video'), { muted: true, playsInline: true });
    tile.element.width = 160;
    document.body.append(tile.element);
    const onFrame = now => {
      if (tile.firstFrameAt === null) {
        tile.firstFrameAt = now;
        say('firstFrame', { attendeeId: tile.state.boundAttendeeId });
      } else {
        tile.longestGapMs = Math.max(tile.longestGapMs, now - tile.lastFrameAt);
      }
      tile.frames++;
      tile.lastFrameAt = now;
      tile.element.requestVideoFrameCallback(onFrame);
    };
    tile.element.requestVideoFrameCallback(onFrame);
    av.bindVideoElement(state.tileId, tile.element);
  }
}

/** Prepares and starts; resolves at once, `started` comes as an event. */
async function join(joinInfo, options = {}) {
  await prepare(joinInfo, options);
  say('start');
  av.start();
}

async function cameraOn(face) {
  await av.startVideoInput(faceStream(face));
  av.startLocalVideoTile();
}

async function cameraOff() {
  av.stopLocalVideoTile();
  await av.stopVideoInput();
}

let shared;
/** Shares a screen, with a tone if one is given, or with the music of two. */
async function shareOn(face, toneHz, rightHz) {
  shared = faceStream(face);
  if (rightHz) {
    av.setContentAudioProfile(sdk.AudioProfile.fullbandMusicStereo());
    shared.addTrack(stereoStream(toneHz, rightHz).getAudioTracks()[0]);
    return av.startContentShare(shared);
  }
  if (toneHz) shared.addTrack(toneStream(toneHz).stream.getAudioTracks()[0]);
  await av.startContentShare(shared);
}

/** Shares a film from a file, with a tone on each side, in stereo at so many bits a second. */
async function shareFilm(picture, leftHz, rightHz, audioBps) {
  const film = await recordFilm(audioContext(), picture, stereoStream(leftHz, rightHz));
  shared = await playFilm(film);
  // The client has no profile of its own for stereo below 128 kbit/s.
  class Stereo extends sdk.AudioProfile {
    isStereo() { return true; }
  }
  av.setContentAudioProfile(new Stereo(audioBps));
  await av.startContentShare(shared);
  return film.size;
}

let marks;
/** Begins to watch for a film's marks: in the tile of someone and in all that is heard. */
async function watchFilm(attendeeId) {
  marks = await watchMarks(audioContext(), tileOf(attendeeId).element, ear.srcObject.getAudioTracks()[0]);
}

/** ... or in one's own share, as it would arrive without a server. */
async function watchOwnFilm() {
  const { video, audio } = await overNothing(PlainPeerConnection, shared);
  const play = async srcObject => {
    const element = Object.assign(document.createElement('video'), { muted: true, srcObject });
    document.body.append(element);
    await element.play();
    return element;
  };
  await play(audio); // a remote sound that nothing plays is not heard by instruments either
  marks = await watchMarks(audioContext(), await play(video), audio.getAudioTracks()[0]);
}

// ---- instruments ---------------------------------------------------------------------------------------------

/** FFT bins of 2.9 Hz: narrow enough to tell two voices apart, 341 ms long. */
const FFT_SIZE = 16384;

/** Level in dB of what is heard at each of these pitches: the loudest bin within 12 Hz. */
function hear(...pitches) {
  const stream = ear?.srcObject;
  if (!stream?.getAudioTracks().length) return null;
  const track = stream.getAudioTracks()[0];
  if (analysed !== track.id) {
    analysed = track.id;
    analyser = newAnalyser();
    audioContext().createMediaStreamSource(new MediaStream([track])).connect(analyser);
  }
  return levels(analyser, pitches);
}

const newAnalyser = () => new AnalyserNode(audioContext(), { fftSize: FFT_SIZE, smoothingTimeConstant: 0, minDecibels: -140 });

function levels(analyser, pitches) {
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  const width = audioContext().sampleRate / FFT_SIZE;
  return pitches.map(hz => {
    let loudest = -160;
    for (let bin = Math.floor((hz - 12) / width); bin <= Math.ceil((hz + 12) / width); bin++) {
      loudest = Math.max(loudest, bins[bin]);
    }
    return Math.round(Math.max(loudest, -160) * 10) / 10;
  });
}

/** Levels in dB of what is heard at each of these pitches on the left, and on the right. */
function hearSides(...pitches) {
  const track = ear?.srcObject?.getAudioTracks()[0];
  if (!track) return null;
  if (sidesOf !== track.id) {
    sidesOf = track.id;
    const splitter = new ChannelSplitterNode(audioContext(), { numberOfOutputs: 2 });
    audioContext().createMediaStreamSource(new MediaStream([track])).connect(splitter);
    sides = [0, 1].map(side => {
      const analyser = newAnalyser();
      splitter.connect(analyser, side);
      return analyser;
    });
  }
  return sides.map(analyser => levels(analyser, pitches));
}
let sides, sidesOf;

/** Level in dB of one pitch over the last 21 ms only: coarse, but quick to notice that sound begins. */
function hearNow(hz) {
  const stream = ear?.srcObject;
  if (!stream?.getAudioTracks().length) return null;
  const track = stream.getAudioTracks()[0];
  if (quickly !== track.id) {
    quickly = track.id;
    quick = new AnalyserNode(audioContext(), { fftSize: 1024, smoothingTimeConstant: 0, minDecibels: -140 });
    audioContext().createMediaStreamSource(new MediaStream([track])).connect(quick);
  }
  const bins = new Float32Array(quick.frequencyBinCount);
  quick.getFloatFrequencyData(bins);
  return bins[Math.round((hz * 1024) / audioContext().sampleRate)];
}
let quick, quickly;

function tileOf(attendeeId) {
  for (const tile of tiles.values()) if (tile.state.boundAttendeeId === attendeeId) return tile;
  return null;
}

/** What one sees of someone: `{frames, longestGapMs, width, height, rgb}`, or null without a tile. */
function see(attendeeId) {
  const tile = tileOf(attendeeId);
  if (!tile?.element) return null;
  const { frames: shown, longestGapMs, element, state, firstFrameAt } = tile;
  const seen = { ...state, frames: shown, longestGapMs, width: element.videoWidth, height: element.videoHeight, rgb: null };
  seen.watchedMs = firstFrameAt === null ? 0 : performance.now() - firstFrameAt;
  if (shown > 0) {
    const canvas = new OffscreenCanvas(8, 8);
    const pen = canvas.getContext('2d');
    // A patch right of the middle: away from the number and above the walking bar.
    pen.drawImage(element, element.videoWidth * 0.6, element.videoHeight * 0.4, 40, 40, 0, 0, 8, 8);
    seen.rgb = [...pen.getImageData(4, 4, 1, 1).data.slice(0, 3)];
  }
  return seen;
}

/** Which frame of which sender the tile of someone shows, read from its pixels; null where no such numbers are. */
function readTile(attendeeId) {
  const element = tileOf(attendeeId)?.element;
  if (!element?.videoWidth) return null;
  const size = 16;
  const pen = new OffscreenCanvas(ROW_SQUARES * size, 2 * size).getContext('2d');
  const height = (2 * element.videoWidth) / ROW_SQUARES;
  pen.drawImage(element, 0, 0, element.videoWidth, height, 0, 0, ROW_SQUARES * size, 2 * size);
  const bits = y => Array.from({ length: ROW_SQUARES }, (_, column) => (pen.getImageData((column + 0.5) * size, y, 1, 1).data[1] > 128 ? 1 : 0)).join('');
  const number = row => parseInt(row.slice(1, -1), 2);
  const rows = [bits(size / 2), bits(size * 1.5)];
  if (rows.map(row => row.at(0) + row.at(-1)).join() !== [FRAME_MARKS, SENDER_MARKS].join()) return null;
  return { frame: number(rows[0]), sender: number(rows[1]) };
}

/** All RTP statistics of the current peer connection. */
async function stats(...types) {
  const report = await peers.at(-1).getStats();
  return [...report.values()].filter(one => types.includes(one.type));
}

/** By how many packets a second a counter of sound grows, over three seconds. */
async function soundPerSecond(type, counter) {
  const count = async () => (await stats(type)).find(one => one.kind === 'audio');
  let first;
  while (!(first = await count())?.[counter]) await new Promise(requestAnimationFrame);
  let last = first;
  while (last.timestamp - first.timestamp < 3000) {
    last = await count();
    await new Promise(requestAnimationFrame);
  }
  return ((last[counter] - first[counter]) * 1000) / (last.timestamp - first.timestamp);
}

/** What this page sends as video, by the newest statistics: `{codec, mode, width, height, fps, targetKbps}` of each stream. */
async function sending() {
  const report = await peers.at(-1).getStats();
  const streams = [...report.values()].filter(one => one.type === 'outbound-rtp' && one.kind === 'video' && one.framesSent > 0);
  return streams.map(one => ({
    codec: report.get(one.codecId)?.mimeType.split('/')[1],
    mode: one.scalabilityMode,
    width: one.frameWidth,
    height: one.frameHeight,
    fps: one.framesPerSecond,
    targetKbps: Math.round(one.targetBitrate / 1000),
  }));
}

/** Has what this page sends keep its size, whatever the machine bears: then frames are left out instead. */
async function keepSize() {
  for (const sender of peers.at(-1).getSenders().filter(one => one.track?.kind === 'video')) {
    await sender.setParameters({ ...sender.getParameters(), degradationPreference: 'maintain-resolution' });
  }
}

/** How many signaling frames of this type went out (or came in), on any socket of this page. */
const framesOut = type => frames.filter(one => one.out && one.type === type).length;
const framesIn = type => frames.filter(one => !one.out && one.type === type).length;

const lab = {
  sdk, frames, sockets, peers, events, tiles, volumes,
  prepare, join, cameraOn, cameraOff, shareOn, shareFilm, watchFilm, watchOwnFilm, hear, hearSides, hearNow, see, readTile, stats, soundPerSecond, sending, keepSize, framesOut, framesIn,
  get av() { return av; },
  get marks() { return marks; },
  get session() { return session; },
  get self() { return self; },
  rawSend: bytes => newest.send(bytes),
  get toneGain() { return toneGain; },
  volume: attendeeId => volumes.get(attendeeId) ?? null,
  event: (name, where = {}) => events.find(one => one.name === name && matches(one, where)) ?? null,
  last: name => events.findLast(one => one.name === name) ?? null,
  count: (name, where = {}) => events.filter(one => one.name === name && matches(one, where)).length,
  present: attendeeId => events.findLast(one => one.name === 'presence' && one.attendeeId === attendeeId)?.present ?? false,
};
const matches = (event, where) => Object.entries(where).every(([key, value]) => event[key] === value);
window.lab = lab;
