// Many cameras at once: whose picture stands on which tile is read from its pixels.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLUE, Gathering, GREEN, RED, YELLOW } from '../harness.mjs';
import { Robot } from '../robot.mjs';

const WATCHED_MS = 30_000;
/** Joining and encoding so often takes a busy machine its time. */
const PATIENCE_MS = 90_000;
/** A picture that stands longer than this is a freeze, even on a machine that does other things as well. */
const FREEZE_MS = 5_000;

/** Each watcher sees each of `cameras` (`{name, id, sender, width}`, the width where it tells two of them apart) on its own
 *  tile for 30 s, moving. */
async function watch(t, watchers, cameras) {
  const seenBy = watcher => cameras.filter(({ id }) => id !== watcher.id);
  const isRight = ({ id, sender, width }) => lab.readTile(id)?.sender === sender && (!width || lab.see(id).width === width);
  await Promise.all(watchers.flatMap(watcher =>
    seenBy(watcher).map(camera => watcher.until(`${camera.name} on its tile`, isRight, camera, PATIENCE_MS))));
  const seen = await Promise.all(watchers.map(watcher => watcher.ask(async ([ids, ms]) => {
    const tile = id => [...lab.tiles.values()].find(one => one.state.boundAttendeeId === id);
    for (const id of ids) tile(id).longestGapMs = 0;
    const readings = Object.fromEntries(ids.map(id => [id, []]));
    const end = performance.now() + ms;
    while (performance.now() < end) {
      for (const id of ids) readings[id].push({ ...lab.readTile(id), width: lab.see(id).width });
      await new Promise(resolve => setTimeout(resolve, 500));
    }
    return ids.map(id => ({ readings: readings[id], longestGapMs: lab.see(id).longestGapMs }));
  }, [seenBy(watcher).map(({ id }) => id), WATCHED_MS])));
  for (const [index, watcher] of watchers.entries()) {
    for (const [at, { name, sender, width }] of seenBy(watcher).entries()) {
      const { readings, longestGapMs } = seen[index][at];
      const read = readings.filter(one => one.sender !== undefined);
      const [frames, widths] = [new Set(read.map(one => one.frame)), new Set(read.map(one => one.width))];
      t.diagnostic(`${watcher.name} sees ${name}: ${read.length} of ${readings.length} readings, ${frames.size} numbers, ${[...widths]} wide, longest gap ${Math.round(longestGapMs)} ms`);
      assert.ok(read.length > readings.length * 0.8, `${watcher.name} could read ${read.length} of ${readings.length} pictures of ${name}`);
      assert.ok(read.every(one => one.sender === sender && (!width || one.width === width)), `${watcher.name} saw somebody else on the tile of ${name}`);
      // A clip has 32 frames and begins again.
      assert.ok(frames.size > Math.min(read.length, 32) / 2, `${watcher.name} saw only ${frames.size} frames of ${name}`);
      assert.ok(longestGapMs < FREEZE_MS, `${watcher.name} saw ${name} stand still for ${longestGapMs} ms`);
    }
  }
}

test('four cameras, two in simulcast and two scalable, each on its own tile, without a freeze for 30 s', async t => {
  const meeting = new Gathering(t);
  const watchers = [await meeting.join('wes', { priority: true }), await meeting.join('eve')];
  const cameras = [];
  for (const [at, colour] of [RED, GREEN, BLUE, YELLOW].entries()) {
    // They look at nobody: a dozen more decoders would measure this machine and nothing else.
    const person = await meeting.join(`p${at}`, { blind: true, simulcast: at < 2, svc: at >= 2 });
    const sender = at + 10;
    // Chromium makes layers of no smaller pictures.
    const [width, height] = at < 2 ? [960, 540] : [640, 360];
    await person.ask(face => lab.cameraOn(face), { colour, width, height, fps: 8, sender });
    cameras.push({ name: person.name, id: person.id, sender });
    const sends = at < 2 ? 'two layers' : 'a scalable stream';
    await person.until(sends, async layered => {
      const streams = await lab.sending();
      return layered ? streams.length > 1 : streams.some(({ mode }) => /^L[23]T/.test(mode));
    }, at < 2, PATIENCE_MS);
  }
  await watch(t, watchers, cameras);
});

test('nine cameras of two browsers and seven clients without one, in four codecs, each on its own tile', async t => {
  const meeting = new Gathering(t);
  const watchers = [await meeting.join('wes'), await meeting.join('eve')];
  const cameras = [];
  for (const [at, watcher] of watchers.entries()) {
    const sender = at + 10;
    await watcher.ask(face => lab.cameraOn(face), { colour: RED, width: 320, height: 180, fps: 8, sender });
    cameras.push({ name: watcher.name, id: watcher.id, sender });
  }
  // Who sends the clip, as it says itself; one sender's three clips differ in size.
  const clips = [['low.vp8', 1, 160], ['mid.vp8', 1, 320], ['hi.vp8', 1, 640], ['mid.h264', 2], ['l1t3.vp9', 3], ['l3t3.vp9', 4], ['l1t3.av1', 5]];
  for (const [clip, sender, width] of clips) {
    const robot = await Robot.join(meeting, clip, clip, { hz: 700, words: ['blind'] });
    cameras.push({ name: clip, id: robot.id, sender, width });
  }
  await watch(t, watchers, cameras);
});
