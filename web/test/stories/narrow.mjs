// A receiver whose network bears less than there is to see: links of the simulator between browsers and server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gathering, GREEN, Network, RED, Server } from '../harness.mjs';

const LONG_MS = 60_000;
const ANN_HZ = 440;
const BOB_HZ = 1130;

/** A server behind a network whose links can be narrowed, and a way to join over it: `link` is the person's own. */
async function behindLinks(t) {
  const network = await Network.open();
  t.after(() => network.close());
  const server = await Server.start({ more: ['--media-public', network.address, '--media-over', 'udp'] });
  t.after(() => server.stop());
  network.to(server.media);
  const meeting = new Gathering(t);
  const join = async (name, options) => {
    const person = await meeting.invite(name, await server.invite(meeting.name, name));
    const link = network.clients;
    await person.start(options);
    return Object.assign(person, { narrow: conditions => network.narrow(link, conditions) });
  };
  return { join };
}

/** Waits until this holds of what `person` sees of `other`, and says how long that took. */
async function turns(t, person, other, what, holds) {
  const since = Date.now();
  const seen = await person.until(what, holds, other.id, LONG_MS);
  t.diagnostic(`${person.name}: ${what} after ${Date.now() - since} ms (${seen.width}x${seen.height})`);
  return seen;
}

/** Waits until this holds of how wide the pictures are that `bob` and `cat` see of `ann`. Compared with each other only: when
 *  her machine is busy, both shrink. */
async function widths(t, bob, cat, ann, what, hold) {
  for (const since = Date.now(); ; ) {
    const [{ width: one }, { width: other }] = [await bob.sees(ann), await cat.sees(ann)];
    const ms = Date.now() - since;
    if (hold(one, other)) return t.diagnostic(`${what} after ${ms} ms (${one} beside ${other})`);
    assert.ok(ms < LONG_MS, `never ${what} (${one} beside ${other})`);
  }
}

for (const [layers, options] of [['the lower layer', { simulcast: true }], ['fewer layers of SVC', { svc: true }]]) {
  test(`a receiver whose link narrows falls to ${layers}, and gets the others back`, async t => {
    const { join } = await behindLinks(t);
    const ann = await join('ann', options);
    const cat = await join('cat');
    const bob = await join('bob');
    await ann.ask(face => lab.cameraOn(face), { colour: RED, width: 1280, height: 720, busy: true });
    for (const person of [bob, cat]) {
      await turns(t, person, ann, 'the large picture', id => lab.see(id)?.width >= 1280 && lab.see(id));
    }
    await ann.ask(() => lab.keepSize());
    bob.narrow({ kbps: 300 });
    await widths(t, bob, cat, ann, 'a smaller picture for bob', (bobs, cats) => 2 * bobs <= cats);
    const { frames } = await bob.sees(ann);
    await bob.until('that it moves', ([id, frames]) => lab.see(id).frames > frames + 30, [ann.id, frames], LONG_MS);
    assert.ok(2 * (await bob.sees(ann)).width <= (await cat.sees(ann)).width, 'the picture of bob grew again');
    bob.narrow();
    await widths(t, bob, cat, ann, 'as large a picture as that of cat', (bobs, cats) => bobs === cats);
  });
}

test('what does not fit is paused by the server, and its tile says so until it goes on', async t => {
  const { join } = await behindLinks(t);
  const ann = await join('ann');
  await join('cat');
  const bob = await join('bob', { priority: true });
  await bob.ask(id => {
    const preferences = lab.sdk.VideoPreferences.prepare();
    preferences.add(new lab.sdk.VideoPreference(id, 1, lab.sdk.TargetDisplaySize.High));
    lab.policy.chooseRemoteVideoSources(preferences.build());
  }, ann.id);
  await ann.ask(face => lab.cameraOn(face), { colour: GREEN, width: 640, height: 360, busy: true });
  await turns(t, bob, ann, 'the picture', id => lab.see(id)?.frames > 20 && lab.see(id));
  bob.narrow({ kbps: 150 });
  await turns(t, bob, ann, 'the tile paused', id => lab.see(id)?.paused && lab.see(id));
  await bob.until('the observer told', () => lab.event('tilePaused'));
  bob.narrow();
  await turns(t, bob, ann, 'the tile going on', id => lab.see(id)?.paused === false && lab.see(id));
  const { frames } = await bob.sees(ann);
  await bob.until('new frames', ([id, before]) => lab.see(id)?.frames > before + 20, [ann.id, frames], LONG_MS);
});

test('on a link too narrow for a camera whoever has no priorities hears on, and sees it again when there is room', async t => {
  const { join } = await behindLinks(t);
  const ann = await join('ann', { tone: ANN_HZ });
  const cat = await join('cat');
  const bob = await join('bob', { tone: BOB_HZ });
  await ann.ask(face => lab.cameraOn(face), { colour: GREEN, width: 640, height: 360, busy: true });
  for (const person of [bob, cat]) await turns(t, person, ann, 'the picture', id => lab.see(id)?.frames > 20 && lab.see(id));
  bob.narrow({ kbps: 150 });
  await bob.until('that it is paused', () => lab.framesIn('PAUSE') > 0, null, LONG_MS);
  await bob.hearsOnly(ANN_HZ, BOB_HZ);
  const { frames } = await cat.sees(ann);
  await cat.until('her all the while', ([id, frames]) => lab.see(id).frames > frames + 30, [ann.id, frames], LONG_MS);
  bob.narrow();
  await bob.until('that it goes on', () => lab.framesIn('RESUME') > 0, null, LONG_MS);
  const before = await bob.sees(ann);
  await bob.until('new frames', ([id, frames]) => lab.see(id).frames > frames + 20, [ann.id, before.frames], LONG_MS);
});

test('where there is room for one camera of two, it is the more important one that goes on', async t => {
  const { join } = await behindLinks(t);
  const [ann, cat] = [await join('ann'), await join('cat')];
  const bob = await join('bob', { priority: true });
  await bob.ask(([first, second]) => {
    const { TargetDisplaySize, VideoPreference, VideoPreferences } = lab.sdk;
    const preferences = VideoPreferences.prepare();
    preferences.add(new VideoPreference(first, 1, TargetDisplaySize.High));
    preferences.add(new VideoPreference(second, 2, TargetDisplaySize.High));
    lab.policy.chooseRemoteVideoSources(preferences.build());
  }, [cat.id, ann.id]);
  for (const [person, colour] of [[ann, GREEN], [cat, RED]]) {
    await person.ask(face => lab.cameraOn(face), { colour, width: 640, height: 360, busy: true });
    await turns(t, bob, person, `the picture of ${person.name}`, id => lab.see(id)?.frames > 20 && lab.see(id));
  }
  bob.narrow({ kbps: 1600 });
  await turns(t, bob, ann, 'the tile of ann paused', id => lab.see(id)?.paused && lab.see(id));
  const { frames } = await bob.sees(cat);
  await bob.until('cat go on', ([id, before]) => lab.see(id).frames > before + 30, [cat.id, frames], LONG_MS);
  assert.equal((await bob.sees(cat)).paused, false, 'the more important one was paused');
  bob.narrow();
  await turns(t, bob, ann, 'the tile of ann going on', id => lab.see(id)?.paused === false && lab.see(id));
});

test('in a meeting of two the sender hears what its receiver bears, and sends that', async t => {
  const { join } = await behindLinks(t);
  const ann = await join('ann');
  const bob = await join('bob');
  await ann.ask(face => lab.cameraOn(face), { colour: RED, width: 1280, height: 720, busy: true });
  const aims = async (what, least, most) => {
    const since = Date.now();
    const [{ targetKbps }] = await ann.until(`one stream of ${what}`, async ([least, most]) => {
      const all = await lab.sending();
      return all.length === 1 && all[0].targetKbps >= least && all[0].targetKbps <= most && all;
    }, [least, most], LONG_MS);
    t.diagnostic(`ann aims at ${targetKbps} kbit/s after ${Date.now() - since} ms`);
  };
  await aims('all that she may send', 1000, 10_000);
  await turns(t, bob, ann, 'the picture', id => lab.see(id)?.frames > 20 && lab.see(id));
  bob.narrow({ kbps: 500 });
  await aims('what bob bears', 1, 600);
  const { frames } = await bob.sees(ann);
  await bob.until('that it moves', ([id, frames]) => lab.see(id).frames > frames + 30, [ann.id, frames], LONG_MS);
  assert.equal(await bob.ask(() => lab.framesIn('PAUSE')), 0, 'the sender adapts, so nothing is paused');
  bob.narrow();
  await aims('all that she may send again', 1000, 10_000);
});

/** How each mode is called by the client and numbered in JOIN. */
const ADAPTIONS = { None: 2, BandwidthProbing: 3, BandwidthProbingAndRemoteVideoQualityAdaption: 4 };

for (const [adaption, number] of Object.entries(ADAPTIONS)) {
  test(`adaption ${adaption}: the smaller layer on a narrow link, and the larger one again`, async t => {
    const { join } = await behindLinks(t);
    const ann = await join('ann', { simulcast: true });
    await join('cat');
    const bob = await join('bob', { priority: true, adaption });
    await ann.ask(face => lab.cameraOn(face), { colour: RED, width: 1280, height: 720, busy: true });
    await turns(t, bob, ann, 'the large picture', id => lab.see(id)?.width >= 1280 && lab.see(id));
    const [asked, granted] = await bob.ask(() => ['JOIN', 'JOIN_ACK'].map(type => lab.frames.find(one => one.type === type).frame));
    assert.equal(asked.join.serverSideNetworkAdaption, number);
    assert.equal(granted.joinack.defaultServerSideNetworkAdaption, number);
    const policy = await bob.ask(name => lab.policy.getServerSideNetworkAdaption() === lab.sdk.ServerSideNetworkAdaption[name], adaption);
    assert.ok(policy, 'its policy goes by what it asked for');
    bob.narrow({ kbps: 450 });
    await turns(t, bob, ann, 'the small picture', id => lab.see(id)?.width < 1280 && lab.see(id));
    const { frames } = await bob.sees(ann);
    await bob.until('that it moves', ([id, frames]) => lab.see(id).frames > frames + 30, [ann.id, frames], LONG_MS);
    await bob.until('how little its link bears', () => {
      const told = lab.frames.findLast(one => !one.out && one.type === 'BITRATES')?.frame.bitrates;
      return told?.serverAvailableOutgoingBitrate <= 450;
    });
    bob.narrow();
    await turns(t, bob, ann, 'the large picture again', id => lab.see(id)?.width >= 1280 && lab.see(id));
  });
}

test('who loses every eighth packet hears by the copies that come with the others', async t => {
  const { join } = await behindLinks(t);
  const ann = await join('ann', { tone: ANN_HZ });
  const bob = await join('bob', { tone: BOB_HZ });
  const heard = () => bob.ask(async () => (await lab.stats('inbound-rtp')).find(one => one.kind === 'audio'));
  await bob.hearsOnly(ANN_HZ, BOB_HZ);
  bob.narrow({ loss: 0.125 });
  // Copies of what has come already are what Chromium counts as discarded; to the others it gives no number.
  const hasCopies = async () => (await lab.stats('inbound-rtp')).find(one => one.kind === 'audio').packetsDiscarded > 200;
  await bob.until('two hundred copies', hasCopies, null, LONG_MS);
  const before = await heard();
  await bob.until('ten seconds more', async timestamp => {
    const { timestamp: now } = (await lab.stats('inbound-rtp')).find(one => one.kind === 'audio');
    return now - timestamp > 10_000;
  }, before.timestamp, LONG_MS);
  const after = await heard();
  const since = what => after[what] - before[what];
  const lost = since('packetsLost') / (since('packetsLost') + since('packetsReceived'));
  const invented = since('concealedSamples') / since('totalSamplesReceived');
  t.diagnostic(`${(100 * lost).toFixed(1)} % lost, ${(100 * invented).toFixed(2)} % invented`);
  assert.ok(lost > 0.06, 'nothing was lost');
  assert.ok(invented < lost / 2, 'the copies were not played');
  await bob.hearsOnly(ANN_HZ, BOB_HZ);
});

test('on a narrow link the picture gets smaller for whoever prefers all of them, and not for whoever prefers its size', async t => {
  const { join } = await behindLinks(t);
  const ann = await join('ann', { simulcast: true });
  const [bob, cat] = [await join('bob', { priority: true }), await join('cat', { priority: true })];
  for (const [person, preference] of [[bob, 'MaintainFramerate'], [cat, 'MaintainResolution']]) {
    await person.ask(([id, preference]) => {
      const { TargetDisplaySize, VideoPreference, VideoPreferences, VideoQualityAdaptationPreference } = lab.sdk;
      const preferences = VideoPreferences.prepare();
      preferences.add(new VideoPreference(id, 1, TargetDisplaySize.High, VideoQualityAdaptationPreference[preference]));
      lab.policy.chooseRemoteVideoSources(preferences.build());
    }, [ann.id, preference]);
  }
  await ann.ask(face => lab.cameraOn(face), { colour: RED, width: 1280, height: 720, busy: true });
  for (const person of [bob, cat]) await turns(t, person, ann, 'the large picture', id => lab.see(id)?.width >= 1280 && lab.see(id));
  // Until her client has found out what her link bears, all of her upper layer may fit in what is left of theirs.
  await ann.until('all of the upper layer', async () => (await lab.sending()).some(({ targetKbps }) => targetKbps >= 1100), null, LONG_MS);
  for (const person of [bob, cat]) person.narrow({ kbps: 950 });
  await turns(t, bob, ann, 'the small picture', id => lab.see(id)?.width < 1280 && lab.see(id));
  const { frames } = await turns(t, cat, ann, 'the large picture still', id => lab.see(id)?.width >= 1280 && lab.see(id));
  const moves = ([id, frames]) => lab.see(id).width >= 1280 && lab.see(id).frames > frames + 10;
  await cat.until('that it moves', moves, [ann.id, frames], LONG_MS);
  // It may have grown meanwhile: what the encoder makes of its target varies, and now and then all of it fits.
  const { frames: bobs } = await bob.sees(ann);
  const movesSmall = ([id, frames]) => lab.see(id).width < 1280 && lab.see(id).frames > frames + 10;
  await bob.until('that the small one moves', movesSmall, [ann.id, bobs], LONG_MS);
});
