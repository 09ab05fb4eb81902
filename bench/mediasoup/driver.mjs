// Drives a mediasoup worker: one line of JSON in, one line of JSON out. First it tells the worker's process.
//
//   {"camera": {"fingerprint": "AB:…", "ssrc": 1}}     one that sends VP8, in a room of its own
//   {"watcher": {"fingerprint": "AB:…"}}               one that watches it, until there is the next
//
// Either is answered by {"sdp": "…"}, the lines of SDP that say how to reach the worker; a mistake by {"error": "…"}.
//
// Usage: node driver.mjs FOLDER ADDRESS

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [folder, address] = process.argv.slice(2);
process.env.MEDIASOUP_WORKER_BIN = join(folder, 'mediasoup-worker');
const { createWorker } = createRequire(join(folder, 'package.json'))('mediasoup');

const VP8 = {
  kind: 'video',
  mimeType: 'video/VP8',
  payloadType: 96,
  preferredPayloadType: 96,
  clockRate: 90000,
  parameters: {},
  rtcpFeedback: [{ type: 'nack' }, { type: 'nack', parameter: 'pli' }],
};
const MID = { kind: 'video', uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', id: 4, preferredId: 4 };

const worker = await createWorker({ logLevel: 'warn' });
let router, producer;

async function connect(fingerprint) {
  const transport = await router.createWebRtcTransport({ listenInfos: [{ protocol: 'udp', ip: address }] });
  await transport.connect({
    dtlsParameters: { role: 'client', fingerprints: [{ algorithm: 'sha-256', value: fingerprint }] },
  });
  return transport;
}

function sdp({ iceParameters, iceCandidates, dtlsParameters }) {
  const { value } = dtlsParameters.fingerprints.find(({ algorithm }) => algorithm === 'sha-256');
  const candidates = iceCandidates.map(
    ({ foundation, priority, ip, port }) => `a=candidate:${foundation} 1 udp ${priority} ${ip} ${port} typ host\r\n`,
  );
  const { usernameFragment, password } = iceParameters;
  const ice = `a=ice-ufrag:${usernameFragment}\r\na=ice-pwd:${password}\r\n`;
  return `${ice}a=fingerprint:sha-256 ${value}\r\n${candidates.join('')}`;
}

async function answer({ camera, watcher }) {
  if (camera) router = await worker.createRouter({ mediaCodecs: [VP8] });
  const transport = await connect((camera ?? watcher).fingerprint);
  if (camera) {
    const rtpParameters = { mid: '0', codecs: [VP8], headerExtensions: [MID], encodings: [{ ssrc: camera.ssrc }] };
    producer = await transport.produce({ kind: 'video', rtpParameters });
  } else {
    const rtpCapabilities = { codecs: [VP8], headerExtensions: [MID] };
    await transport.consume({ producerId: producer.id, rtpCapabilities });
  }
  return { sdp: sdp(transport) };
}

const tell = (what) => console.log(JSON.stringify(what));
tell({ pid: worker.pid });
for await (const line of createInterface({ input: process.stdin })) {
  tell(await answer(JSON.parse(line)).catch((error) => ({ error: String(error) })));
}
