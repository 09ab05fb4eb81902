// The largest pictures that a meeting allows: the client scales to what its meeting says, and the server keeps to it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meet } from '../api.mjs';
import { Gathering, GREEN, RED, shared, YELLOW } from '../harness.mjs';

/** Encoders begin small and get there in their own time, the slower the busier the machine. */
const RAMP_MS = 60_000;
/** Large and slow: what matters is the size. */
const LARGE = { width: 1920, height: 1080, fps: 5 };
const HUGE = { width: 3840, height: 2160, fps: 2 };
const SMALL = { colour: GREEN, width: 320, height: 180 };

/** People in a meeting that offers this; `told` is what their clients are told instead, as by a careless application. */
async function offering(t, features, told = features) {
  const { invite } = await meet(shared.server, { MeetingFeatures: features });
  const meeting = new Gathering(t);
  const join = async (name, options) => {
    const invitation = await invite(name);
    const person = await meeting.invite(name, { ...invitation, Meeting: { ...invitation.Meeting, MeetingFeatures: told } });
    await person.start(options);
    return person;
  };
  return { join };
}

const seesInWidth = (person, id, width) =>
  person.until(`a picture of width ${width}`, ([id, width]) => lab.see(id)?.width === width && lab.see(id), [id, width], RAMP_MS);

const refusal = /Disabled video\/content send capability, reason: Video resolution is above limit/;

test('a large camera in an HD meeting is made smaller by its client, and seen', async t => {
  const { join } = await offering(t, { Video: { MaxResolution: 'HD' } });
  const [ann, bob] = [await join('ann'), await join('bob')];
  await ann.ask(face => lab.cameraOn(face), { colour: RED, ...LARGE });
  const { height } = await seesInWidth(bob, ann.id, 1280);
  assert.equal(height, 720);
  await bob.seesColour(ann, RED);
  assert.equal(await ann.ask(() => lab.count('videoSendUnavailable')), 0);
});

test('a camera above the limit is refused as its client understands it, and may come back smaller', async t => {
  const { join } = await offering(t, { Video: { MaxResolution: 'HD' } }, { Video: { MaxResolution: 'FHD' } });
  const [ann, bob] = [await join('ann'), await join('bob')];
  await ann.ask(face => lab.cameraOn(face), { colour: RED, ...LARGE });
  const widths = bob.ask(id => {
    const seen = new Set();
    const timer = setInterval(() => seen.add(lab.see(id)?.width ?? 0), 20);
    return new Promise(resolve => (lab.widths = () => (clearInterval(timer), resolve([...seen]), true)));
  }, ann.id);
  await ann.until('videoSendDidBecomeUnavailable', () => lab.event('videoSendUnavailable'), null, RAMP_MS);
  assert.ok(ann.console.some(line => refusal.test(line)), ann.console.join('\n'));
  await bob.until('the tile go', id => !lab.see(id), ann.id);
  await bob.ask(() => lab.widths());
  assert.ok((await widths).every(width => width <= 1280), `pictures of width ${await widths} were seen`);
  assert.equal(await ann.ask(() => lab.count('stopped')), 0, 'ann herself stays in the meeting');
  const said = shared.server.log.filter(line => line.includes('video refused'));
  assert.ok(said.some(line => line.includes(ann.id) && line.includes('1920x1080') && line.includes('1280x720')), said.join('\n'));
  await ann.ask(face => lab.cameraOn(face), SMALL);
  await bob.seesColour(ann, GREEN);
});

test('where FHD is allowed, a camera and a share of that size are seen in full', async t => {
  const { join } = await offering(t, {
    Video: { MaxResolution: 'FHD' }, Content: { MaxResolution: 'FHD' }, Attendee: { MaxCount: 25 },
  });
  const [ann, bob] = [await join('ann'), await join('bob')];
  await ann.ask(face => lab.cameraOn(face), { colour: RED, ...LARGE });
  assert.equal((await seesInWidth(bob, ann.id, 1920)).height, 1080);
  await ann.ask(() => lab.cameraOff());
  await bob.ask(face => lab.shareOn(face), { colour: YELLOW, ...LARGE });
  const content = `${bob.id}#content`;
  assert.equal((await seesInWidth(ann, content, 1920)).height, 1080);
  await ann.seesColour(content, YELLOW);
});

test('a 4K share is made smaller by its client where FHD is the limit, and ends where its client knows of no limit', async t => {
  const { join } = await offering(t, { Content: { MaxResolution: 'FHD' } });
  const [ann, bob] = [await join('ann'), await join('bob')];
  await ann.ask(face => lab.shareOn(face), { colour: YELLOW, ...HUGE });
  const content = `${ann.id}#content`;
  assert.equal((await seesInWidth(bob, content, 1920)).height, 1080);
  const other = await offering(t, { Content: { MaxResolution: 'FHD' } }, { Content: { MaxResolution: 'UHD' } });
  const cat = await other.join('cat');
  await cat.ask(face => lab.shareOn(face), { colour: YELLOW, ...HUGE });
  await cat.until('contentShareDidStart', () => lab.event('contentStarted'));
  await cat.until('contentShareDidStop', () => lab.event('contentStopped'), null, RAMP_MS);
  assert.ok(cat.console.some(line => refusal.test(line)), cat.console.join('\n'));
  assert.equal(await cat.ask(() => lab.count('stopped')), 0, 'cat herself stays in the meeting');
});
