// The page that Campanile serves, used as people use it: by its fields and buttons.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shared } from '../harness.mjs';
import { shots, Visitor } from '../visitor.mjs';

test('the page: two people meet, talk, write, share and leave by its buttons', { timeout: 120_000 }, async t => {
  t.diagnostic(`pictures are in ${shots()}`);
  const name = `page-${process.pid}`;
  const ann = await Visitor.at(t, 'Ann', { colorScheme: 'dark', permissions: ['clipboard-read', 'clipboard-write'] });
  const bob = await Visitor.at(t, 'Bob', { colorScheme: 'light' });
  await ann.open();
  await ann.shot('lobby-dark');
  await bob.open();
  await bob.shot('lobby-light');
  await ann.joins(name);
  await ann.shot('alone');
  await bob.joins(name);
  await ann.picture(ann.tile('Bob'));
  await bob.picture(bob.tile('Ann'));
  await ann.page.getByText('2 people').waitFor();
  await ann.shot('two');

  await ann.button('Mute').click();
  await bob.page.locator('#tiles .tile[data-muted=true] .name', { hasText: 'Ann' }).waitFor();
  await ann.button('Unmute').click();
  await bob.page.locator('#tiles .tile[data-muted=false] .name', { hasText: 'Ann' }).waitFor();
  await ann.page.keyboard.press('Alt+KeyM');
  await bob.page.locator('#tiles .tile[data-muted=true] .name', { hasText: 'Ann' }).waitFor();

  await ann.button('Chat').click();
  await ann.page.getByLabel('Message to everyone').fill('Good morning! <b>See</b> https://example.org/minutes');
  await ann.page.keyboard.press('Enter');
  await bob.page.locator('#unread', { hasText: '1' }).waitFor();
  await bob.page.locator('#chat-open').click();
  await bob.page.locator('#messages .body', { hasText: 'Good morning! <b>See</b>' }).waitFor();
  await bob.page.getByLabel('Message to everyone').fill('Good morning, Ann.');
  await bob.page.keyboard.press('Enter');
  await ann.page.locator('#messages .body', { hasText: 'Good morning, Ann.' }).waitFor();
  await bob.shot('chat-light');

  await ann.button('Share screen').click();
  const screen = bob.page.locator('#shares .tile');
  await bob.picture(screen);
  await bob.page.locator('#shares .name', { hasText: 'Ann’s screen' }).waitFor();
  await bob.shot('share-light');
  await ann.shot('share-dark');
  await ann.button('Stop sharing').click();
  await screen.waitFor({ state: 'detached' });

  await bob.button('Stop camera').click();
  await ann.page.locator('#tiles .tile:not(.has-picture) .name', { hasText: 'Bob' }).waitFor();
  await bob.button('Start camera').click();
  await ann.picture(ann.tile('Bob'));

  await ann.button('Copy invite link').click();
  await ann.page.locator('#toast', { hasText: 'copied' }).waitFor();
  const link = await ann.page.evaluate(() => navigator.clipboard.readText());
  assert.equal(new URL(link).searchParams.get('meeting'), name);

  await ann.button('Devices').click();
  await ann.page.getByRole('dialog').getByLabel('Microphone').waitFor();
  await ann.shot('devices-dark');
  await ann.button('Done').click();

  await bob.button('Leave').click();
  await bob.state('left');
  await bob.shot('left-light');
  await ann.tile('Bob').waitFor({ state: 'detached' });
  await bob.button('Join again').click();
  await bob.state('joined');
  await ann.tile('Bob').waitFor();

  await shared.server.end(name);
  await Promise.all([ann.state('ended'), bob.state('ended')]);
  await ann.shot('ended-dark');
  // The client's own error: the meeting ended while it was changing its encoder's parameters, and it then logs them.
  const ofTheClient = "TypeError: Cannot read properties of null (reading 'sender')";
  assert.deepEqual([...ann.errors, ...bob.errors].filter(error => error !== ofTheClient), []);
});

test('the page on a telephone, with many people, and what it says when one is removed', { timeout: 120_000 }, async t => {
  const name = `phone-${process.pid}`;
  const phone = await Visitor.at(t, 'Ann-Marie Lee', { viewport: { width: 390, height: 780 }, colorScheme: 'dark' });
  await phone.joins(name);
  for (const other of ['Bob', 'Cat', 'Dan']) await (await Visitor.at(t, other)).joins(name, { camera: other === 'Bob' });
  await phone.page.getByText('4 people').waitFor();
  await phone.picture(phone.tile('Bob'));
  await phone.shot('phone');
  const attendeeId = await phone.page.locator('.tile.self').getAttribute('data-attendee');
  await shared.server.kick(name, attendeeId);
  await phone.state('removed');
  await phone.shot('phone-removed');
});

test('the page has a name for every control and fits without sideways scrolling', async t => {
  const visitor = await Visitor.at(t, 'Ann', { viewport: { width: 320, height: 640 } });
  await visitor.open();
  const problems = await visitor.page.evaluate(() => {
    const nameless = [...document.querySelectorAll('button, input, select, a')].filter(
      one => !(one.ariaLabel || one.textContent.trim() || one.labels?.length),
    );
    return [...nameless.map(one => one.outerHTML), ...(document.documentElement.scrollWidth > innerWidth ? ['too wide'] : [])];
  });
  assert.deepEqual(problems, []);
  await visitor.page.locator('#name').fill('');
  await visitor.button('Join').click();
  assert.equal(await visitor.page.evaluate(() => document.body.dataset.state), 'idle', 'a name is required');
});

test('the page says what to do when the server is gone', async t => {
  const visitor = await Visitor.at(t, 'Ann');
  await visitor.open('/?meeting=nowhere&name=Ann');
  await visitor.page.route('**/demo/join', route => route.abort());
  await visitor.button('Join').click();
  await visitor.page.getByRole('alert').filter({ hasText: 'could not be reached' }).waitFor();
  await visitor.page.unroute('**/demo/join');
  await visitor.page.route('**/demo/join', route => route.fulfill({ status: 400, json: { message: 'no such name' } }));
  await visitor.button('Join').click();
  await visitor.page.getByRole('alert').filter({ hasText: 'no such name' }).waitFor();
});
