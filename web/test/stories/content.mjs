// Sharing a screen: a second session of the same person.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLUE, Gathering, GREEN, RED, YELLOW } from '../harness.mjs';

test('trap 35: a shared screen starts, is seen and heard by others, and stops', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.join('ann', { tone: 440 });
  const bob = await meeting.join('bob', { tone: 1130 });
  await ann.ask(face => lab.cameraOn(face), { colour: RED });
  await bob.seesColour(ann, RED);
  const content = `${ann.id}#content`;
  await ann.ask(face => lab.shareOn(face, 1870), { colour: YELLOW });
  await ann.until('contentShareDidStart', () => lab.event('contentStarted'));
  const tile = await bob.seesColour({ id: content, name: 'the screen of ann' }, YELLOW);
  assert.equal(tile.isContent, true);
  assert.equal(tile.boundExternalUserId, ann.externalUserId);
  await bob.until('the content attendee', id => lab.present(id), content);
  await bob.seesColour(ann, RED);
  await bob.hearsOnly(1870, 1130);
  await bob.hearsOnly(440, 1130);
  // The sharer hears bob, and neither herself nor her own screen.
  await ann.hearsOnly(1130, 440);
  await ann.hearsOnly(1130, 1870);
  await ann.ask(() => lab.av.stopContentShare());
  await ann.until('contentShareDidStop', () => lab.event('contentStopped'));
  await bob.until('the tile go', tileId => lab.event('tileRemoved', { tileId }), tile.tileId);
  await bob.until('the content attendee go', id => !lab.present(id), content);
  await bob.seesColour(ann, RED);
  // And once more: a second share is as good as the first.
  await ann.ask(face => lab.shareOn(face), { colour: GREEN });
  await bob.seesColour({ id: content, name: 'the second screen' }, GREEN);
});

test('the music of a shared screen is heard in stereo by whoever asks for it, and by others with both sides in one', async t => {
  const meeting = new Gathering(t);
  const [LEFT_HZ, RIGHT_HZ] = [660, 1870];
  const ann = await meeting.join('ann', { tone: 440 });
  const bob = await meeting.join('bob', { muted: true, stereo: true });
  const cat = await meeting.join('cat', { muted: true });
  const music = [{ colour: YELLOW, width: 320, height: 180 }, LEFT_HZ, RIGHT_HZ];
  await ann.ask(music => lab.shareOn(...music), music);
  const levels = await bob.until(
    'each tone on its own side',
    pitches => {
      const [left, right] = lab.hearSides(...pitches) ?? [];
      return left?.[0] > -45 && left[1] < left[0] - 30 && right[1] > -45 && right[0] < right[1] - 30 && { left, right };
    },
    [LEFT_HZ, RIGHT_HZ],
  );
  t.diagnostic(`bob: ${LEFT_HZ} and ${RIGHT_HZ} Hz at ${levels.left} dB on the left, ${levels.right} dB on the right`);
  await bob.until('ann in the middle', hz => lab.hearSides(hz).every(([level]) => level > -45), 440);
  await cat.until('both tones', pitches => lab.hear(...pitches)?.every(level => level > -45), [LEFT_HZ, RIGHT_HZ]);
});

test('a film from a file is seen and heard in stereo; printed is how far its sound is from its picture', async t => {
  const meeting = new Gathering(t);
  const [LEFT_HZ, RIGHT_HZ] = [660, 1870];
  const MARKS = 5;
  const ann = await meeting.join('ann', { muted: true });
  const bob = await meeting.join('bob', { muted: true, stereo: true });
  const film = { colour: BLUE, width: 1280, height: 720, fps: 15, marks: 3 };
  const bytes = await ann.ask(given => lab.shareFilm(...given), [film, LEFT_HZ, RIGHT_HZ, 64_000]);
  const content = `${ann.id}#content`;
  await bob.seesColour(content, BLUE);
  await bob.until('it in its own size', id => lab.see(id).width === 1280 && lab.see(id).height === 720, content);
  await bob.until(
    'each tone on its own side',
    pitches => {
      const [left, right] = lab.hearSides(...pitches) ?? [];
      return left?.[0] > -45 && left[1] < left[0] - 20 && right[1] > -45 && right[0] < right[1] - 20;
    },
    [LEFT_HZ, RIGHT_HZ],
  );
  await Promise.all([ann.ask(() => lab.watchOwnFilm()), bob.ask(id => lab.watchFilm(id), content)]);
  const received = await bob.until(
    `${MARKS} marks`,
    count => lab.marks.delays().length >= count && lab.marks.delays(),
    MARKS,
    60_000,
  );
  const without = await ann.ask(() => lab.marks.delays());
  const { frames, watchedMs } = await bob.ask(id => lab.see(id), content);
  const figures = delays => `${delays.map(Math.round).join(', ')} ms`;
  t.diagnostic(`a film of ${Math.round(bytes / 1024)} KiB; ${((frames * 1000) / watchedMs).toFixed(1)} pictures a second arrive`);
  t.diagnostic(`its sound after its picture, as seen and heard by the other: ${figures(received)}`);
  t.diagnostic(`over a connection of the sharer's browser with itself: ${figures(without)}`);
});

test('a third screen is refused while two are shared', async t => {
  const meeting = new Gathering(t);
  const [ann, bob, cat] = [await meeting.join('ann'), await meeting.join('bob'), await meeting.join('cat')];
  const small = { width: 320, height: 180 };
  await ann.ask(face => lab.shareOn(face), { colour: RED, ...small });
  await bob.ask(face => lab.shareOn(face), { colour: GREEN, ...small });
  await cat.seesColour(`${ann.id}#content`, RED);
  await cat.seesColour(`${bob.id}#content`, GREEN);
  await cat.ask(face => lab.shareOn(face), { colour: YELLOW, ...small });
  await cat.until('contentShareDidStop', () => lab.event('contentStopped'));
  assert.equal(await cat.ask(() => lab.count('contentStarted')), 0);
  assert.equal(await cat.ask(() => lab.count('stopped')), 0, 'cat herself stays in the meeting');
});

test('whoever is removed takes their screen along', async t => {
  const meeting = new Gathering(t);
  const [ann, bob] = [await meeting.join('ann'), await meeting.join('bob')];
  await ann.ask(face => lab.shareOn(face), { colour: YELLOW, width: 320, height: 180 });
  const content = `${ann.id}#content`;
  const { tileId } = await bob.seesColour(content, YELLOW);
  await meeting.kick(ann);
  await bob.until('the tile go', tileId => lab.event('tileRemoved', { tileId }), tileId);
  await bob.until('ann and her screen go', ids => ids.every(id => !lab.present(id)), [ann.id, content]);
  await ann.until('contentShareDidStop', () => lab.event('contentStopped'));
});
