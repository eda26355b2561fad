package server

import (
	"bytes"
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

// maxLooks is how many streams look after their device at a time, when something
// wakes all of them.
const maxLooks = 16

// Watch tells a device when it is worth asking again, until it goes or is not
// active any more.
func (v service) Watch(ctx context.Context, request *connect.Request[apiv1.SignedRequest], out *connect.ServerStream[apiv1.Hint]) error {
	// Checking signatures and folding ledgers needs a deep stack, and this one stays as
	// large as it has ever been. It keeps nothing of the request either.
	opened := make(chan *watched)
	go func() { opened <- v.s.openWatch(ctx, request) }()
	watched := <-opened
	if watched.err != nil {
		return watched.err
	}
	defer watched.leave()
	return v.s.watch(ctx, watched, out.Send)
}

// watched is an open stream and whoever listens.
type watched struct {
	*stream
	asked *asked // what is needed to look for the device, and to refuse
	leave func()
	err   error // if it is not open
}

// openWatch checks a request for hints and opens its stream.
func (s *Server) openWatch(ctx context.Context, request *connect.Request[apiv1.SignedRequest]) (w *watched) {
	const procedure = apiv1connect.ServerServiceWatchProcedure
	defer func() {
		if value := recover(); value != nil {
			w = &watched{err: s.recovered(ctx, request.Spec(), nil, value)}
		}
	}()
	ctx, place, err := s.enter(ctx, procedure, request.Msg, request.Peer().Addr)
	if err != nil {
		return &watched{err: err}
	}
	defer place.leave()
	now := s.now()
	r, err := api.ParseRequest(procedure, request.Msg)
	if err != nil {
		return &watched{err: s.refuse(procedure, nil, now, err)}
	}
	if w, err = s.joinWatch(ctx, &asked{Request: r, now: now, remote: request.Peer().Addr}); err != nil {
		return &watched{err: s.refuse(procedure, r, now, err)}
	}
	return w
}

// joinWatch opens a stream for an active device.
func (s *Server) joinWatch(ctx context.Context, a *asked) (*watched, error) {
	if err := a.Fits(s.keys.SignKey(), a.now); err != nil {
		return nil, err
	}
	if err := a.Decode(&apiv1.WatchRequest{}); err != nil {
		return nil, err
	}
	if err := s.devices.check(a.Request, classDaily, time.Now()); err != nil {
		return nil, err
	}
	acct, d, err := s.device(ctx, a)
	if err != nil {
		return nil, err
	}
	st := s.hub.join(acct.id, d.Number, a.remote)
	if st == nil {
		return nil, api.Refuse(api.ErrUnavailable, "too many streams are open: ask from time to time")
	}
	end := s.attend()
	leave := func() {
		end()
		s.hub.leave(st)
	}
	// What locked the device between the first look and the join gave no hint.
	if _, _, err := s.device(ctx, a); err != nil {
		leave()
		return nil, err
	}
	slim := &api.Request{Header: &apiv1.RequestHeader{Account: bytes.Clone(a.Header.Account), Device: a.Header.Device}, Hash: a.Hash, Key: a.Key}
	return &watched{stream: st, asked: &asked{Request: slim}, leave: leave}, nil
}

// watch sends hints until the device goes, which is no error. All that may happen
// comes by one channel: it is what keeps the stack of an idle stream small.
func (s *Server) watch(ctx context.Context, w *watched, send func(*apiv1.Hint) error) error {
	defer context.AfterFunc(ctx, w.rouse)()
	due := time.Now().Add(aliveTime)
	alive := time.AfterFunc(aliveTime, w.rouse)
	defer alive.Stop()
	if !say(ctx, send, apiv1.Hint_KIND_UNSPECIFIED) {
		return nil
	}
	for {
		<-w.wake
		kinds, ended := s.hub.take(w.stream)
		if ended || ctx.Err() != nil {
			return nil
		}
		look := slices.Contains(kinds, apiv1.Hint_KIND_LEDGER)
		if now := time.Now(); !now.Before(due) {
			due = now.Add(aliveTime)
			alive.Reset(aliveTime)
			kinds, look = append(kinds, apiv1.Hint_KIND_UNSPECIFIED), look || !s.followed
		}
		if look {
			looked := make(chan error)
			go func() { looked <- s.look(ctx, w.asked) }()
			if err := <-looked; ctx.Err() != nil {
				return nil
			} else if err != nil {
				return err
			}
		}
		if !say(ctx, send, kinds...) {
			return nil
		}
	}
}

// say sends hints, and returns false if the device has gone.
func say(ctx context.Context, send func(*apiv1.Hint) error, kinds ...apiv1.Hint_Kind) bool {
	for _, kind := range kinds {
		untilSent(ctx)
		if send(&apiv1.Hint{Kind: kind}) != nil {
			return false
		}
	}
	return true
}

// look refuses if the device that listens is not active any more.
func (s *Server) look(ctx context.Context, a *asked) (err error) {
	const procedure = apiv1connect.ServerServiceWatchProcedure
	defer func() {
		if value := recover(); value != nil {
			err = s.recovered(ctx, connect.Spec{Procedure: procedure}, nil, value)
		}
	}()
	s.looks <- struct{}{}
	defer func() { <-s.looks }()
	if _, _, err := s.device(ctx, a); err != nil {
		return s.refuse(procedure, a.Request, s.now(), err)
	}
	return nil
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
