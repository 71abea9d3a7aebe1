// A browser's own EventSource, as the README has it. It comes back by itself, and stops at a 204.
({ url, stream, until }) => new Promise((resolve) => {
  const message = new Message();
  const source = new EventSource(`${url}/v1/streams/${stream}/events`);
  const end = (notes) => {
    source.close();
    resolve(message.result(notes));
  };
  source.onmessage = ({ data }) => {
    if (message.take(data) && until !== "end") end();
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) end({ stopped: true });
  };
})
