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

// Watching is a signed request for a stream of hints, to be used at once.
type Watching struct {
	client  *Client
	request *apiv1.SignedRequest
	hash    [32]byte
}

// PrepareWatch signs a request for a stream, so that whoever signs need not be
// there while it lasts.
func (c *Client) PrepareWatch(who api.Identity) (*Watching, error) {
	request, hash, err := api.NewRequest(apiv1connect.ServerServiceWatchProcedure, c.server, who, &apiv1.WatchRequest{}, c.now(), c.rand)
	if err != nil {
		return nil, err
	}
	return &Watching{client: c, request: request, hash: hash}, nil
}

// Watch is PrepareWatch and Listen.
func (c *Client) Watch(ctx context.Context, who api.Identity, told func(apiv1.Hint_Kind)) error {
	w, err := c.PrepareWatch(who)
	if err != nil {
		return err
	}
	return w.Listen(ctx, told)
}

// Listen calls told with each hint of the server, the first at once, until the
// stream ends or ctx does. Hints are not signed: they say when it is worth asking
// again, and no more. It returns nil when the server ended the stream or ctx was
// cancelled, an *api.Refusal, or an error that wraps [ErrUnreachable] or
// [ErrDishonest]. It goes nowhere else if the server has moved: the next call does.
func (w *Watching) Listen(ctx context.Context, told func(apiv1.Hint_Kind)) error {
	c, at := w.client, w.client.place.Load()
	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	stream, err := at.rpc.Watch(listening, connect.NewRequest(w.request))
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
		return at.about(fmt.Errorf("%w: it was silent for %s", ErrUnreachable, silence))
	}
	return at.about(failed(c.server, w.hash, err))
}
