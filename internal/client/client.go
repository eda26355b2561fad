// Package client is a device's way to its server: it signs requests, sends them,
// and believes nothing that is not signed by the server's key that the device
// has pinned.
//
// [Identify] asks a server that is not known yet who it is. Everything after
// that goes through a [Client], one method for each procedure. [Locate] finds a
// server again that has moved.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/signing"
)

// How a call can fail without the server's word. A server's signed refusal is an
// *api.Refusal.
var (
	// ErrUnreachable: no answer came. Whether the server did what it was asked is
	// not known.
	ErrUnreachable = api.ErrUnreachable
	// ErrDishonest: what came is not the pinned server's answer to this request:
	// garbage, another request's answer, or a wrong signature.
	ErrDishonest = api.ErrDishonest
	// ErrURL: the address of a server is none, or would carry requests in the
	// clear over a network.
	ErrURL = errors.New("not the address of a server")
)

// timeout is how long one call may take. Large appends and pages need some of
// it; nothing waits for a person.
const timeout = 2 * time.Minute

// Client calls one server. It is safe for concurrent use.
type Client struct {
	place  atomic.Pointer[place]
	server *signing.PublicKey
	http   *http.Client
	rand   io.Reader
	now    func() time.Time
	moved  func(ctx context.Context, from, to string) error
}

// place is where the server is reached.
type place struct {
	url string
	rpc apiv1connect.ServerServiceClient
}

// New returns a client of the server that has this sign key. It does not call
// it. The HTTP client may be nil. It returns an error that wraps [ErrURL].
func New(h *http.Client, address string, server *signing.PublicKey, rand io.Reader, now func() time.Time) (*Client, error) {
	if err := CheckURL(address); err != nil {
		return nil, err
	}
	c := &Client{server: server, http: h, rand: rand, now: now}
	c.place.Store(&place{address, newRPC(h, address)})
	return c, nil
}

// URL returns where the server is reached.
func (c *Client) URL() string { return c.place.Load().url }

// SetURL makes the client reach the server elsewhere from now on. It returns an
// error that wraps [ErrURL].
func (c *Client) SetURL(address string) error {
	if err := CheckURL(address); err != nil {
		return err
	}
	c.place.Store(&place{address, newRPC(c.http, address)})
	return nil
}

// OnMoved has f called when the server at an address signs that it has moved. If f
// returns nil, having called SetURL, the same request is sent there, once; otherwise
// its error is that of the call. f may be called by several goroutines. It is to be
// set before the first call.
func (c *Client) OnMoved(f func(ctx context.Context, from, to string) error) { c.moved = f }

func newRPC(h *http.Client, address string) apiv1connect.ServerServiceClient {
	if h == nil {
		h = &http.Client{}
	}
	// A redirect would take a request to where nobody was pinned.
	own := *h
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return apiv1connect.NewServerServiceClient(&own, address, connect.WithReadMaxBytes(api.MaxMessage))
}

// CheckURL returns an error that wraps [ErrURL] unless the address is https, or
// http on this machine: answers are signed, but names and messages would be
// readable to everybody on the way.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%w: %q; it looks like https://zeropass.example", ErrURL, address)
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if host := u.Hostname(); host == "localhost" || net.ParseIP(host).IsLoopback() {
			return nil
		}
		return fmt.Errorf("%w: %q: http is for this machine alone; use https", ErrURL, address)
	}
	return fmt.Errorf("%w: %q; it starts with https://", ErrURL, address)
}

// Identify asks a server for its keys, for a device to pin. They prove that the
// answer is fresh and the keys are the server's own; that it is the right server
// is for the address, and TLS, to say. One that has moved is an *api.Refusal for
// [api.ErrMoved].
func Identify(ctx context.Context, h *http.Client, address string, rand io.Reader) (*recordv1.Server, error) {
	server, movedTo, err := identify(ctx, h, address, rand)
	if err == nil && movedTo != "" {
		return nil, &api.Refusal{Reason: api.ErrMoved, Message: movedTo, URL: movedTo, Signed: true}
	}
	return server, err
}

// identify is Identify, and says where the server says that it is now.
func identify(ctx context.Context, h *http.Client, address string, rand io.Reader) (_ *recordv1.Server, movedTo string, err error) {
	if err := CheckURL(address); err != nil {
		return nil, "", err
	}
	nonce := make([]byte, api.NonceSize)
	if _, err := io.ReadFull(rand, nonce); err != nil {
		return nil, "", fmt.Errorf("client: nonce: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := newRPC(h, address).Identify(ctx, connect.NewRequest(&apiv1.IdentifyRequest{Nonce: nonce}))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", address, failed(nil, [32]byte{}, err))
	}
	sign, seal, err := api.VerifyIdentity(nonce, answer.Msg)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", address, err)
	}
	return &recordv1.Server{Url: bare(address), SignKey: sign.Bytes(), SealKey: seal.Bytes()}, answer.Msg.MovedTo, nil
}

// bare is an address as it is compared and stored.
func bare(address string) string { return strings.TrimRight(address, "/") }

// Server returns the pinned sign key.
func (c *Client) Server() *signing.PublicKey { return c.server }

// method is one procedure of the generated client.
type method func(apiv1connect.ServerServiceClient, context.Context, *connect.Request[apiv1.SignedRequest]) (*connect.Response[apiv1.SignedAnswer], error)

// call signs the body, sends it, and reads the signed answer. confirm may add
// second factors. It returns the request's hash as well.
func call[A any, PA interface {
	*A
	proto.Message
}](ctx context.Context, c *Client, m method, procedure string, who api.Identity, body proto.Message, confirm func(*apiv1.SignedRequest)) (PA, [32]byte, error) {
	request, hash, err := api.NewRequest(procedure, c.server, who, body, c.now(), c.rand)
	if err != nil {
		return nil, hash, err
	}
	if confirm != nil {
		confirm(request)
	}
	answer := PA(new(A))
	if err := c.exchange(ctx, m, request, hash, answer); err != nil {
		return nil, hash, err
	}
	return answer, hash, nil
}

// exchange sends a request that is signed already and reads its answer. A request
// names the server's key and no address, so that it is good where the server has
// moved to as well.
func (c *Client) exchange(ctx context.Context, m method, request *apiv1.SignedRequest, hash [32]byte, answer proto.Message) error {
	at := c.place.Load()
	err := c.exchangeAt(ctx, at, m, request, hash, answer)
	var refusal *api.Refusal
	if c.moved == nil || !errors.As(err, &refusal) || refusal.Reason != api.ErrMoved || !refusal.Signed {
		return err
	}
	if err := c.moved(ctx, at.url, refusal.URL); err != nil {
		return err
	}
	return c.exchangeAt(ctx, c.place.Load(), m, request, hash, answer)
}

func (c *Client) exchangeAt(ctx context.Context, at *place, m method, request *apiv1.SignedRequest, hash [32]byte, answer proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, err := m(at.rpc, ctx, connect.NewRequest(request))
	for attempt := 0; err != nil && attempt < tries-1 && comesAgain(ctx, failed(c.server, hash, err), attempt); attempt++ {
		response, err = m(at.rpc, ctx, connect.NewRequest(request))
	}
	if err != nil {
		return at.about(failed(c.server, hash, err))
	}
	if err := api.OpenAnswer(c.server, hash, response.Msg, answer); err != nil {
		return at.about(err)
	}
	return nil
}

// tries is how often a request is sent that the server has no time for.
const tries = 4

// maxPause is how long a request waits for an overloaded server at most, before each
// device makes it up to half as much longer or shorter.
const maxPause = 5 * time.Second

// comesAgain waits for a server that has too much to do, which it says without a
// signature and before it does anything: the same request may come again. Each device
// waits another time, so that not all come back together. It returns false where there
// is nothing to wait for.
func comesAgain(ctx context.Context, err error, attempt int) bool {
	var refusal *api.Refusal
	if !errors.As(err, &refusal) || refusal.Signed || refusal.Reason != api.ErrUnavailable || refusal.RetryAfter <= 0 {
		return false
	}
	pause := min(refusal.RetryAfter<<attempt, maxPause)
	timer := time.NewTimer(pause/2 + time.Duration(mathrand.Int64N(int64(pause))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// about names the server in errors that are not its own words.
func (p *place) about(err error) error {
	if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrDishonest) {
		return fmt.Errorf("%s: %w", p.url, err)
	}
	return err
}

// failed tells a server that cannot be reached from one that answers something
// else than the protocol. server is nil where it is not known yet.
func failed(server *signing.PublicKey, request [32]byte, err error) error {
	if server != nil {
		told := api.FromConnect(server, request, err)
		if !errors.Is(told, ErrUnreachable) {
			return told
		}
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
		return fmt.Errorf("%w: %s", ErrUnreachable, reason(err))
	}
	// A connection that breaks under the answer is a server that died, or its
	// network, and no lie.
	var network *net.OpError
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %s", ErrUnreachable, reason(err))
	}
	return fmt.Errorf("%w: what answers there does not speak ZeroPass's protocol: %s", ErrDishonest, reason(err))
}

// reason is the innermost network error, which says it shortest.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Error()
	}
	var failure *connect.Error
	if errors.As(err, &failure) {
		return failure.Message()
	}
	return err.Error()
}
