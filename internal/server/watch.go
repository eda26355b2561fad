package server

import (
	"context"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

const (
	// aliveTime is how often a stream says that it is alive. Where no other server
	// is followed it is also how often the server looks whether the device is still
	// active: the operator's commands give no hints then.
	aliveTime = 30 * time.Second
	// sendTime is how long a hint may take to leave.
	sendTime = 20 * time.Second
)

// Close ends all streams of hints. The server answers nothing but refusals to
// Watch afterwards; an HTTP server that waits for its requests to end can then
// end.
func (s *Server) Close() { s.hub.close() }

// Watch tells a device when it is worth asking again, until it goes or is not
// active any more.
func (v service) Watch(ctx context.Context, request *connect.Request[apiv1.SignedRequest], out *connect.ServerStream[apiv1.Hint]) error {
	s, now := v.s, v.s.now()
	r, err := api.ParseRequest(apiv1connect.ServerServiceWatchProcedure, request.Msg)
	if err != nil {
		return s.refuse(apiv1connect.ServerServiceWatchProcedure, nil, now, err)
	}
	err = func() error {
		if err := r.Fits(s.keys.SignKey(), now); err != nil {
			return err
		}
		if err := r.Decode(&apiv1.WatchRequest{}); err != nil {
			return err
		}
		if err := s.devices.check(r, nil, time.Now()); err != nil {
			return err
		}
		return s.watch(ctx, &asked{Request: r, now: now, remote: request.Peer().Addr}, out.Send)
	}()
	if err != nil {
		return s.refuse(apiv1connect.ServerServiceWatchProcedure, r, s.now(), err)
	}
	return nil
}

// watch sends hints until the device goes, which is no error.
func (s *Server) watch(ctx context.Context, a *asked, send func(*apiv1.Hint) error) error {
	acct, d, err := s.device(ctx, a)
	if err != nil {
		return err
	}
	st := s.hub.join(acct.id, d.Number, a.remote)
	if st == nil {
		return api.Refuse(api.ErrUnavailable, "too many streams are open: ask from time to time")
	}
	defer s.hub.leave(st)
	defer s.attend()()
	// What locked the device between the first look and the join gave no hint.
	if _, _, err := s.device(ctx, a); err != nil {
		return err
	}
	alive := time.NewTicker(aliveTime)
	defer alive.Stop()
	kinds := []apiv1.Hint_Kind{apiv1.Hint_KIND_UNSPECIFIED}
	for {
		for _, kind := range kinds {
			untilSent(ctx)
			if send(&apiv1.Hint{Kind: kind}) != nil {
				return nil // it has gone
			}
		}
		look := false
		select {
		case <-ctx.Done():
			return nil
		case <-st.end:
			return nil
		case <-alive.C:
			kinds, look = []apiv1.Hint_Kind{apiv1.Hint_KIND_UNSPECIFIED}, !s.followed
		case <-st.wake:
			kinds = s.hub.take(st)
			look = slices.Contains(kinds, apiv1.Hint_KIND_LEDGER)
		}
		if look {
			if _, _, err := s.device(ctx, a); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
	}
}

// controllerKey is where a stream's context has its http.ResponseController.
type controllerKey struct{}

// streaming hands the deadlines of a request to its handler.
func streaming(w http.ResponseWriter, r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), controllerKey{}, http.NewResponseController(w)))
}

// untilSent moves the deadlines of [NewHTTPServer], which would cut a stream:
// reading has ended, and each hint has a time of its own to leave.
func untilSent(ctx context.Context) {
	if c, ok := ctx.Value(controllerKey{}).(*http.ResponseController); ok {
		// Without deadlines to move there are none that cut.
		_ = c.SetReadDeadline(time.Time{})
		_ = c.SetWriteDeadline(time.Now().Add(aliveTime + sendTime))
	}
}
