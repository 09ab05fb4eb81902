// A receiver whose network bears less than there is to see: links of the simulator between browsers and server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gathering, GREEN, Network, RED, Server } from '../harness.mjs';

const LONG_MS = 60_000;

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

/** Waits until the picture of `other` is this wide, and says how long that took. */
async function turns(t, person, other, what, holds) {
  const since = Date.now();
  const seen = await person.until(what, holds, other.id, LONG_MS);
  t.diagnostic(`${person.name}: ${what} after ${Date.now() - since} ms (${seen.width}x${seen.height})`);
}

test('a receiver whose link narrows falls to the lower layer, and gets the upper one back', async t => {
  const { join } = await behindLinks(t);
  const ann = await join('ann', { simulcast: true });
  const cat = await join('cat');
  const bob = await join('bob');
  await ann.ask(face => lab.cameraOn(face), { colour: RED, width: 1280, height: 720, busy: true });
  await turns(t, bob, ann, 'the large picture', id => lab.see(id)?.width >= 1280 && lab.see(id));
  await turns(t, cat, ann, 'the large picture', id => lab.see(id)?.width >= 1280 && lab.see(id));
  bob.narrow({ kbps: 400 });
  await turns(t, bob, ann, 'the small picture', id => lab.see(id)?.width < 1280 && lab.see(id));
  assert.ok((await cat.sees(ann)).width >= 1280, 'the picture of cat shrank too');
  bob.narrow();
  await turns(t, bob, ann, 'the large picture again', id => lab.see(id)?.width >= 1280 && lab.see(id));
});

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
