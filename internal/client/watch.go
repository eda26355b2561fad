package client

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

// silence is how long a stream may say nothing: the server says every 30 seconds
// that it is alive.
const silence = 75 * time.Second

// Watch calls told with each hint of the server, the first at once, until the
// stream ends or ctx does. Hints are not signed: they say when it is worth asking
// again, and no more. It returns nil when the server ended the stream or ctx was
// cancelled, an *api.Refusal, or an error that wraps [ErrUnreachable] or
// [ErrDishonest].
func (c *Client) Watch(ctx context.Context, who api.Identity, told func(apiv1.Hint_Kind)) error {
	request, hash, err := api.NewRequest(apiv1connect.ServerServiceWatchProcedure, c.server, who, &apiv1.WatchRequest{}, c.now(), c.rand)
	if err != nil {
		return err
	}
	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	stream, err := c.rpc.Watch(listening, connect.NewRequest(request))
	if err == nil {
		for stream.Receive() {
			quiet.Reset(silence)
			told(stream.Msg().Kind)
		}
		err = stream.Err()
		cancel() // Close waits for the rest of the stream
		_ = stream.Close()
	}
	switch {
	case ctx.Err() != nil || err == nil:
		return nil
	case listening.Err() != nil && connect.CodeOf(err) == connect.CodeCanceled:
		return c.about(fmt.Errorf("%w: it was silent for %s", ErrUnreachable, silence))
	}
	return c.about(failed(c.server, hash, err))
}
