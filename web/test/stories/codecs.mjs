// How pictures are coded: each receiver its layers of one scalable stream, and a codec that everybody can decode.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLUE, Gathering, GREEN, RED, sections } from '../harness.mjs';

/** Encoders begin small and get there in their own time, the slower the busier the machine. */
const RAMP_MS = 60_000;

const wish = (person, other, size) =>
  person.ask(([id, size]) => {
    const preferences = lab.sdk.VideoPreferences.prepare();
    preferences.add(new lab.sdk.VideoPreference(id, 1, lab.sdk.TargetDisplaySize[size]));
    lab.policy.chooseRemoteVideoSources(preferences.build());
  }, [other.id, size]);

test('SVC: of one VP9 stream each gets the size wished for, and switches without a SUBSCRIBE', async t => {
  const meeting = new Gathering(t);
  const options = { svc: true, priority: true };
  const ann = await meeting.join('ann', options);
  const bob = await meeting.join('bob', options);
  const cat = await meeting.join('cat', options);
  await ann.ask(face => lab.cameraOn(face), { colour: RED, width: 1280, height: 720 });
  await wish(bob, ann, 'Low');
  await wish(cat, ann, 'High');
  const streams = await ann.until('three spatial layers in VP9', async () => {
    const all = await lab.sending();
    return all[0]?.codec === 'VP9' && all[0].mode === 'L3T3' && all[0].width === 1280 && all;
  }, null, RAMP_MS);
  assert.equal(streams.length, 1, 'SVC is one stream');
  const low = await bob.until('the small picture', id => lab.see(id)?.width === 320 && lab.see(id), ann.id, RAMP_MS);
  const high = await cat.until('the large picture', id => lab.see(id)?.width === 1280 && lab.see(id), ann.id, RAMP_MS);
  t.diagnostic(`low ${low.width}x${low.height}, high ${high.width}x${high.height}`);
  const subscribed = await bob.ask(() => lab.framesOut('SUBSCRIBE'));
  await wish(bob, ann, 'High');
  await bob.until('the large picture', id => lab.see(id)?.width === 1280, ann.id, RAMP_MS);
  await wish(bob, ann, 'Low');
  await bob.until('the small picture again', id => lab.see(id)?.width === 320, ann.id, RAMP_MS);
  const frames = (await bob.sees(ann)).frames;
  await bob.until('that it moves', ([id, frames]) => lab.see(id).frames > frames + 30, [ann.id, frames]);
  const after = await bob.seesColour(ann, RED);
  assert.equal(after.tileId, low.tileId);
  assert.equal(await bob.ask(() => lab.framesOut('SUBSCRIBE')), subscribed, 'switching needed a SUBSCRIBE');
  const ofCat = await cat.seesColour(ann, RED);
  assert.ok(ofCat.longestGapMs < 5000, `cat's picture stood still for ${ofCat.longestGapMs} ms`);
  const camera = sections((await ann.answers()).at(-1)).find(lines => lines.includes('a=mid:1'));
  assert.ok(camera.some(line => line.includes('#dependency-descriptor')), camera.join('\n'));
});

test('a client whose machine is too slow sends fewer layers, then another codec, and is seen all the while', async t => {
  const meeting = new Gathering(t);
  const options = { svc: true, priority: true };
  const ann = await meeting.join('ann', options);
  const [bob, cat] = [await meeting.join('bob', options), await meeting.join('cat', options)];
  await ann.ask(face => lab.cameraOn(face), { colour: RED, width: 640, height: 360 });
  const { tileId } = await bob.seesColour(ann, RED);
  // How many sizes fit into a picture is the encoder's to say.
  const steps = ['VP9 L[23]T3', 'VP9 L1T3', 'VP9 L1T1', 'H264'];
  for (const [at, step] of steps.entries()) {
    // What its monitor does after some seconds of encoding too slowly.
    if (at > 0) await ann.ask(() => lab.av.audioVideoController.monitorTask.degradeVideoEncoding('a slow machine'));
    const sends = async step => (await lab.sending()).some(one => `${one.codec} ${one.mode}`.match(step));
    await ann.until(`that she sends ${step}`, sends, step, RAMP_MS);
    for (const person of [bob, cat]) {
      const { frames } = await person.seesColour(ann, RED);
      await person.until('that it goes on', ([id, frames]) => lab.see(id).frames > frames + 20, [ann.id, frames], RAMP_MS);
    }
  }
  assert.equal((await bob.sees(ann)).tileId, tileId, 'the tile was replaced');
  for (const person of [ann, bob, cat]) assert.equal(await person.ask(() => lab.count('started')), 1, `${person.name} had to reconnect`);
});

test('content in AV1 is seen by all', async t => {
  const meeting = new Gathering(t);
  const options = { svc: true, priority: true };
  const ann = await meeting.join('ann', options);
  const bob = await meeting.join('bob', options);
  const cat = await meeting.join('cat', options);
  await ann.ask(face => lab.shareOn(face), { colour: BLUE, width: 640, height: 360 });
  await ann.until('content in AV1', async () => (await lab.sending()).some(one => one.codec === 'AV1'), null, RAMP_MS);
  for (const person of [bob, cat]) {
    const { frames } = await person.seesColour(`${ann.id}#content`, BLUE);
    await person.until('that it moves', ([id, frames]) => lab.see(id).frames > frames + 20, [`${ann.id}#content`, frames]);
  }
  t.diagnostic(JSON.stringify(await ann.ask(() => lab.sending())));
});

test('when somebody joins who decodes VP8 alone, everybody sends that, and goes back afterwards', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann');
  const bob = await meeting.join('bob');
  await ann.ask(face => lab.cameraOn(face), { colour: GREEN, width: 320, height: 180 });
  const sends = codec => ann.until(`that ann sends ${codec}`, async codec => (await lab.sending()).some(one => one.codec === codec), codec, RAMP_MS);
  await sends('VP9');
  const { tileId } = await bob.seesColour(ann, GREEN);
  const old = await meeting.join('old', { knownCodecs: ['VP8'] });
  await old.until('an index', () => lab.frames.findLast(one => one.type === 'INDEX')?.frame.index.sources?.length > 0);
  await sends('VP8');
  await old.seesColour(ann, GREEN);
  const { frames } = await bob.seesColour(ann, GREEN);
  await bob.until('that it goes on', ([id, frames]) => lab.see(id).frames > frames + 10, [ann.id, frames]);
  assert.equal((await bob.sees(ann)).tileId, tileId, 'the tile was replaced');
  await old.ask(() => lab.av.stop());
  await sends('VP9');
  const again = await bob.seesColour(ann, GREEN);
  await bob.until('that it goes on', ([id, frames]) => lab.see(id).frames > frames + 10, [ann.id, again.frames]);
  for (const person of [ann, bob]) assert.equal(await person.ask(() => lab.count('started')), 1, `${person.name} had to reconnect`);
});
