// The same client in another engine: Firefox and Chromium in one call. Audio contexts of a Firefox without an audio device
// stay suspended: it speaks by its own microphone, and what it hears is told by its statistics.
import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { FAKE_VOICE_HZ, Firefox, FIREFOX } from '../firefox.mjs';
import { BLUE, Gathering, GREEN, RED, Server } from '../harness.mjs';

const ANN_HZ = 440;

/** A second browser starts cold, beside everything else. */
const PATIENCE_MS = 60_000;

/** Firefox sends no media over loopback: both sides meet on this machine's own address. */
const address = Object.values(networkInterfaces()).flat().find(one => one.family === 'IPv4' && !one.internal)?.address;

const skip = !FIREFOX ? 'Firefox is not installed, and could not be' : !address && 'this machine has no address but loopback';

/** Whether the sound that arrives lies between these levels, 1 being full scale. */
const isAsLoud = async ([least, most]) => {
  const { audioLevel } = (await lab.stats('inbound-rtp')).find(one => one.kind === 'audio') ?? {};
  return audioLevel >= least && audioLevel <= most;
};

test('Firefox and Chromium hear and see each other, camera and screen', { skip }, async t => {
  const meeting = new Gathering(t);
  const firefox = await Firefox.launch();
  t.after(() => firefox.close());
  const server = await Server.start({ media: `${address}:0` });
  t.after(() => server.stop());
  const ann = await meeting.invite('ann', await server.invite(meeting.name, 'ann'));
  await ann.start({ tone: ANN_HZ });
  const fox = await meeting.invite('fox', await server.invite(meeting.name, 'fox'), firefox);
  await fox.start({ microphone: true });
  assert.match(await fox.ask(() => navigator.userAgent), /Firefox/);
  await ann.hearsOnly(FAKE_VOICE_HZ, ANN_HZ);
  await fox.until('that somebody speaks', isAsLoud, [0.1, 1]);
  await ann.ask(() => lab.av.realtimeMuteLocalAudio());
  await fox.until('that nobody else does', isAsLoud, [0, 0.001]);
  const small = { width: 320, height: 180 };
  await ann.ask(face => lab.cameraOn(face), { colour: RED, ...small });
  await fox.ask(face => lab.cameraOn(face), { colour: GREEN, ...small });
  for (const [me, other, colour] of [[ann, fox, GREEN], [fox, ann, RED]]) {
    await me.seesColour(other, colour, PATIENCE_MS);
    const { frames } = await me.sees(other);
    await me.until('that it moves', ([id, frames]) => lab.see(id).frames > frames + 30, [other.id, frames], PATIENCE_MS);
  }
  await fox.ask(face => lab.shareOn(face), { colour: BLUE, ...small });
  await ann.seesColour(`${fox.id}#content`, BLUE, PATIENCE_MS);
  await fox.ask(() => lab.cameraOff());
  await ann.until('the tile go', () => lab.count('tileRemoved') > 0);
  await fox.ask(face => lab.cameraOn(face), { colour: BLUE, ...small });
  await ann.seesColour(fox, BLUE, PATIENCE_MS);
  // Firefox's client answers each index with a SUBSCRIBE, which must not cause another.
  const told = await ann.ask(() => lab.framesIn('INDEX'));
  assert.ok(told < 30, `${told} INDEX frames`);
  assert.deepEqual((await fox.ask(() => lab.sending())).map(one => one.codec), ['VP8'], 'what all decode');
  for (const person of [ann, fox]) {
    t.diagnostic(`${person.name} sends ${JSON.stringify(await person.ask(() => lab.sending()))}`);
    assert.equal(await person.ask(() => lab.count('started')), 1, `${person.name} had to reconnect`);
  }
  await fox.ask(() => lab.av.stop());
  await fox.until('audioVideoDidStop', () => lab.event('stopped', { code: 1 }));
});

test('Firefox is given the layer of a simulcast camera that it wishes for, in a codec that it knows', { skip }, async t => {
  const meeting = new Gathering(t);
  const firefox = await Firefox.launch();
  t.after(() => firefox.close());
  const server = await Server.start({ media: `${address}:0` });
  t.after(() => server.stop());
  const join = async (name, options, browser) => {
    const person = await meeting.invite(name, await server.invite(meeting.name, name), browser);
    await person.start(options);
    return person;
  };
  const ann = await join('ann', { simulcast: true });
  const cat = await join('cat');
  const fox = await join('fox', { priority: true }, firefox);
  const wish = size =>
    fox.ask(([ids, size]) => {
      const preferences = lab.sdk.VideoPreferences.prepare();
      for (const id of ids) preferences.add(new lab.sdk.VideoPreference(id, 1, lab.sdk.TargetDisplaySize[size]));
      lab.policy.chooseRemoteVideoSources(preferences.build());
    }, [[ann.id, cat.id], size]);
  const seesInWidth = (what, width) =>
    fox.until(what, ([id, width]) => lab.see(id)?.width === width && lab.see(id), [ann.id, width], PATIENCE_MS);
  await wish('High');
  await ann.ask(face => lab.cameraOn(face), { colour: RED, width: 1280, height: 720 });
  await seesInWidth('the large picture', 1280);
  await wish('Low');
  await seesInWidth('the small picture', 320);
  await wish('High');
  const { frames } = await seesInWidth('the large picture again', 1280);
  await fox.until('that it moves', ([id, frames]) => lab.see(id).frames > frames + 30, [ann.id, frames], PATIENCE_MS);
  await fox.seesColour(ann, RED, PATIENCE_MS);
  // Firefox has H.264 by a plugin only (MOZ_GMP_PATH may name its folder), and where that is missing nobody sends it.
  const known = await fox.ask(() => RTCRtpReceiver.getCapabilities('video').codecs.map(one => one.mimeType));
  const hasH264 = known.includes('video/H264');
  await cat.ask(() => {
    const { VideoCodecCapability } = lab.sdk;
    lab.av.setVideoCodecSendPreferences([VideoCodecCapability.h264ConstrainedBaselineProfile(), VideoCodecCapability.vp8()]);
  });
  await cat.ask(face => lab.cameraOn(face), { colour: GREEN, width: 320, height: 180 });
  await fox.seesColour(cat, GREEN, PATIENCE_MS);
  const [{ codec }] = await cat.ask(() => lab.sending());
  t.diagnostic(`Firefox ${hasH264 ? 'knows' : 'does not know'} H.264: cat sends ${codec}`);
  assert.equal(codec, hasH264 ? 'H264' : 'VP8');
});
