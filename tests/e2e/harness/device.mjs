// A device as a process of its own, so that it can be stopped and killed like an app:
// DEVICE_TOKEN=<ID token> node device.mjs <url> <transport>. Prints a line for each `ready`.

import { io } from 'socket.io-client';

const [url, transport] = process.argv.slice(2);
const socket = io(url, { auth: { token: process.env.DEVICE_TOKEN }, transports: [transport] });
socket.on('ready', () => console.log('ready'));
