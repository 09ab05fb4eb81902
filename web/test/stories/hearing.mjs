// What one hears, and what others are told about one's voice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLUE, Gathering, sections } from '../harness.mjs';

const ANN_HZ = 440;
const BOB_HZ = 1130;
const CAT_HZ = 1870;

test('two people hear each other and not themselves', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: ANN_HZ });
  const bob = await meeting.join('bob', { tone: BOB_HZ });
  await Promise.all([ann.hearsOnly(BOB_HZ, ANN_HZ), bob.hearsOnly(ANN_HZ, BOB_HZ)]);
});

test('three people: everyone hears the two others and not themselves', async t => {
  const meeting = new Gathering(t);
  const voices = { ann: ANN_HZ, bob: BOB_HZ, cat: CAT_HZ };
  const people = [];
  for (const [name, tone] of Object.entries(voices)) people.push(await meeting.join(name, { tone }));
  for (const person of people) {
    for (const [name, tone] of Object.entries(voices)) {
      if (name !== person.name) await person.hearsOnly(tone, voices[person.name]);
    }
  }
});

test('mute is heard as silence and seen by others, and so is its end', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: ANN_HZ });
  const bob = await meeting.join('bob', { tone: BOB_HZ });
  await bob.hearsOnly(ANN_HZ, BOB_HZ);
  await ann.ask(() => lab.av.realtimeMuteLocalAudio());
  await bob.until('ann muted', id => lab.volume(id)?.muted === true, ann.id);
  await bob.until('no more sound of ann', hz => lab.hear(hz)[0] < -80, ANN_HZ);
  await ann.hearsOnly(BOB_HZ, ANN_HZ);
  await ann.ask(() => lab.av.realtimeUnmuteLocalAudio());
  await bob.until('ann unmuted', id => lab.volume(id)?.muted === false, ann.id);
  await bob.hearsOnly(ANN_HZ, BOB_HZ);
});

test('whoever joins muted is muted for others from the first moment', async t => {
  const meeting = new Gathering(t);
  const bob = await meeting.join('bob', { tone: BOB_HZ });
  const ann = await meeting.join('ann', { tone: ANN_HZ, muted: true });
  await bob.until('ann present', id => lab.present(id), ann.id);
  await bob.until('ann muted', id => lab.volume(id)?.muted === true, ann.id);
  await ann.hearsOnly(BOB_HZ, ANN_HZ);
  const [level] = await bob.hears(ANN_HZ);
  assert.ok(level < -80, `ann is heard at ${level} dB`);
  await ann.ask(() => lab.av.realtimeUnmuteLocalAudio());
  await bob.hearsOnly(ANN_HZ, BOB_HZ);
});

test('trap 28: the volume indicator rises with the voice, and the active speaker is named', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: ANN_HZ });
  const bob = await meeting.join('bob', { tone: BOB_HZ, muted: true });
  await bob.until('ann loud', id => lab.volume(id)?.volume > 0.8, ann.id);
  await bob.until('ann as active speaker', id => lab.events.some(one => one.name === 'speakers' && one.ids[0] === id), ann.id);
  // A sine of amplitude 0.05 is -29 dBov: about half of the scale, which ends at -42.
  await ann.ask(() => (lab.toneGain.gain.value = 0.05));
  await bob.until('ann half as loud', id => lab.volume(id).volume > 0.2 && lab.volume(id).volume < 0.75, ann.id);
  await ann.ask(() => (lab.toneGain.gain.value = 0));
  await bob.until('ann silent', id => lab.volume(id).volume === 0, ann.id);
  // The SDK forgets a silent speaker only slowly, but another voice takes over at once.
  await bob.ask(() => lab.av.realtimeUnmuteLocalAudio());
  await bob.until('himself as active speaker', id => lab.last('speakers').ids.join() === id, bob.id);
});

test('trap 24: fifty packets a second come even when nobody speaks', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { muted: true });
  await meeting.join('bob', { muted: true });
  const perSecond = await ann.ask(() => lab.soundPerSecond('inbound-rtp', 'packetsReceived'));
  t.diagnostic(`${perSecond.toFixed(1)} packets a second`);
  assert.ok(perSecond > 47 && perSecond < 53, `${perSecond} packets a second`);
  assert.equal(await ann.ask(() => lab.count('poor')), 0);
});

test('silence is hardly sent, and whoever speaks after it is heard', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: ANN_HZ });
  const bob = await meeting.join('bob', { tone: BOB_HZ, muted: true });
  await bob.hearsOnly(ANN_HZ, BOB_HZ);
  const sent = person => person.ask(() => lab.soundPerSecond('outbound-rtp', 'packetsSent'));
  const [speaking, silent] = await Promise.all([sent(ann), sent(bob)]);
  t.diagnostic(`speaking ${speaking.toFixed(1)}, muted ${silent.toFixed(1)} packets a second`);
  assert.ok(speaking > 47 && silent > 1 && silent < 10, `speaking ${speaking}, muted ${silent} packets a second`);
  await bob.ask(() => lab.av.realtimeUnmuteLocalAudio());
  await ann.hearsOnly(BOB_HZ, ANN_HZ);
});

test('trap 37: RED is offered first, answered first, and sent', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: ANN_HZ });
  const bob = await meeting.join('bob', { tone: BOB_HZ });
  const [, audio] = sections((await ann.answers())[0]);
  assert.match(audio[0], /^m=audio \d+ UDP\/TLS\/RTP\/SAVPF 63 111$/);
  assert.ok(audio.includes('a=rtpmap:63 red/48000/2') && audio.includes('a=fmtp:63 111/111'), audio.join('\n'));
  assert.ok(audio.some(line => line.startsWith('a=fmtp:111 ')), audio.join('\n'));
  // The statistics name what is inside, so the sender itself is asked: it sends what comes first.
  const sent = await ann.ask(() => lab.peers.at(-1).getSenders()[0].getParameters().codecs[0].mimeType);
  assert.equal(sent, 'audio/red');
  await bob.hearsOnly(ANN_HZ, BOB_HZ);
});

test('a video-only session starts without audio and shows its camera', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { audioHostUrl: '' });
  const bob = await meeting.join('bob', { tone: BOB_HZ });
  await ann.ask(face => lab.cameraOn(face), { colour: BLUE });
  await bob.seesColour(ann, BLUE);
  const kinds = await ann.ask(() => lab.peers.at(-1).getTransceivers().map(one => one.receiver.track.kind));
  assert.ok(!kinds.includes('audio'), kinds.join());
});
