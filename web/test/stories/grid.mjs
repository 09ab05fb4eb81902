// Many cameras at once: whose picture stands on which tile is read from its pixels.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLUE, Gathering, GREEN, RED, YELLOW } from '../harness.mjs';

const CAMERAS = 4;
const WATCHED_MS = 30_000;
/** Joining and encoding so often takes a busy machine its time. */
const PATIENCE_MS = 90_000;

test('four cameras, each on its own tile, without a freeze for 30 s', async t => {
  const meeting = new Gathering(t);
  const watchers = [await meeting.join('wes'), await meeting.join('eve')];
  const publishers = [];
  for (let sender = 1; sender <= CAMERAS; sender++) {
    // Publishers look at nobody: a dozen more decoders would measure this machine and nothing else.
    const person = await meeting.join(`p${sender}`, { blind: true });
    const colour = [RED, GREEN, BLUE, YELLOW][sender % 4];
    await person.ask(face => lab.cameraOn(face), { colour, width: 320, height: 180, fps: 8, sender });
    publishers.push({ person, sender });
  }
  await Promise.all(watchers.flatMap(watcher => publishers.map(({ person, sender }) =>
    watcher.until(`${person.name} on a tile`, ([id, sender]) => lab.readTile(id)?.sender === sender, [person.id, sender], PATIENCE_MS))));
  const ids = publishers.map(({ person }) => person.id);
  const seen = await Promise.all(watchers.map(watcher => watcher.ask(async ([ids, ms]) => {
    for (const id of ids) [...lab.tiles.values()].find(tile => tile.state.boundAttendeeId === id).longestGapMs = 0;
    const readings = Object.fromEntries(ids.map(id => [id, []]));
    const end = performance.now() + ms;
    while (performance.now() < end) {
      for (const id of ids) readings[id].push(lab.readTile(id));
      await new Promise(resolve => setTimeout(resolve, 500));
    }
    return ids.map(id => ({ readings: readings[id], longestGapMs: lab.see(id).longestGapMs }));
  }, [ids, WATCHED_MS])));
  for (const [index, watcher] of watchers.entries()) {
    for (const [at, { person, sender }] of publishers.entries()) {
      const { readings, longestGapMs } = seen[index][at];
      const read = readings.filter(Boolean);
      const frames = new Set(read.map(one => one.frame)).size;
      t.diagnostic(`${watcher.name} sees ${person.name}: ${read.length} of ${readings.length} readings, ${frames} frames, longest gap ${Math.round(longestGapMs)} ms`);
      assert.ok(read.length > readings.length * 0.8, `${watcher.name} could read ${read.length} of ${readings.length} pictures of ${person.name}`);
      assert.ok(read.every(one => one.sender === sender), `${watcher.name} saw somebody else on the tile of ${person.name}`);
      assert.ok(frames > read.length / 2, `${watcher.name} saw only ${frames} frames of ${person.name}`);
      assert.ok(longestGapMs < 5000, `${watcher.name} saw ${person.name} stand still for ${longestGapMs} ms`);
    }
  }
});
