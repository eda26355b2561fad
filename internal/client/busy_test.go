package client

import (
	"context"
	"errors"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
)

// A server that has too much to do says so without a signature; the device sends the
// same request again, after the time that it is told or a little more or less.
func TestABusyServerIsAskedAgain(t *testing.T) {
	s, url := start(t)
	var hashes [][32]byte
	var came []time.Time
	s.seedHalf = func(r *api.Request) (*apiv1.SignedAnswer, error) {
		hashes, came = append(hashes, r.Hash), append(came, time.Now())
		if len(hashes) > 1 {
			return s.answer(s.key, r, "half"), nil
		}
		busy := api.Refuse(api.ErrUnavailable, "busy").Connect(s.key, nil, time.Now())
		busy.Meta().Set("Retry-After", "1")
		return nil, busy
	}
	a, err := ask(t, url, s.key.PublicKey())
	if err != nil || string(a.Sealed) != "half" {
		t.Fatalf("%v, %v", a, err)
	}
	if len(hashes) != 2 || hashes[0] != hashes[1] {
		t.Errorf("it was asked %d times", len(hashes))
	}
	if pause := came[1].Sub(came[0]); pause < 500*time.Millisecond {
		t.Errorf("it was asked again after %v", pause)
	}
}

// What else a server refuses is not asked again.
func TestOtherRefusalsAreFinal(t *testing.T) {
	for name, refuse := range map[string]func(*answering, *api.Request) error{
		"signed": func(s *answering, r *api.Request) error {
			refusal := api.Refuse(api.ErrUnavailable, "later")
			refusal.RetryAfter = time.Second
			return refusal.Connect(s.key, r, time.Now())
		},
		"without a time": func(s *answering, _ *api.Request) error {
			return api.Refuse(api.ErrUnavailable, "later").Connect(s.key, nil, time.Now())
		},
		"of an address that asks too often": func(s *answering, _ *api.Request) error {
			refusal := api.Refuse(api.ErrRateLimited, "wait").Connect(s.key, nil, time.Now())
			refusal.Meta().Set("Retry-After", "10")
			return refusal
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, url := start(t)
			asked := 0
			s.seedHalf = func(r *api.Request) (*apiv1.SignedAnswer, error) {
				asked++
				return nil, refuse(s, r)
			}
			_, err := ask(t, url, s.key.PublicKey())
			if !errors.Is(err, api.ErrUnavailable) && !errors.Is(err, api.ErrRateLimited) || asked != 1 {
				t.Errorf("asked %d times: %v", asked, err)
			}
		})
	}
}

// Whoever gives up does not wait for a busy server, and nobody on the way makes a
// device wait for long.
func TestWaitingForABusyServerEnds(t *testing.T) {
	s, url := start(t)
	c, err := New(nil, url, s.key.PublicKey(), zeros{}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.seedHalf = func(*api.Request) (*apiv1.SignedAnswer, error) {
		time.AfterFunc(10*time.Millisecond, cancel)
		busy := api.Refuse(api.ErrUnavailable, "busy").Connect(s.key, nil, time.Now())
		busy.Meta().Set("Retry-After", "60000")
		return nil, busy
	}
	_, err = c.SeedHalf(ctx, api.Identity{Key: newKey(t)}, &apiv1.SeedHalfRequest{Nonce: make([]byte, api.NonceSize)})
	var refusal *api.Refusal
	if !errors.As(err, &refusal) || refusal.RetryAfter != time.Minute {
		t.Errorf("%v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
