package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/signing"
)

// standing is a server at an address of its own, which says that it has moved from
// there unless movedTo is empty.
type standing struct {
	answering
	url     string
	movedTo string
	asked   int // how often SeedHalf was
}

func stand(t *testing.T, key *signing.PrivateKey, seal *hpke.PrivateKey) *standing {
	t.Helper()
	s := &standing{answering: answering{key: key, seal: seal}}
	s.identify = func(r *apiv1.IdentifyRequest) *apiv1.IdentifyAnswer {
		return api.SignIdentity(s.key, s.seal.PublicKey(), r.Nonce, s.movedTo, time.Now())
	}
	s.seedHalf = func(r *api.Request) (*apiv1.SignedAnswer, error) {
		s.asked++
		if s.movedTo != "" {
			return nil, (&api.Refusal{Reason: api.ErrMoved, URL: s.movedTo}).Connect(s.key, r, time.Now())
		}
		return s.answer(s.key, r, "half"), nil
	}
	_, handler := apiv1connect.NewServerServiceHandler(s)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func TestLocate(t *testing.T) {
	key, seal := newKey(t), newSeal(t)
	pinned := &recordv1.Server{SignKey: key.PublicKey().Bytes(), SealKey: seal.PublicKey().Bytes()}
	old, next, last := stand(t, key, seal), stand(t, key, seal), stand(t, key, seal)
	foreign, otherSeal := stand(t, newKey(t), seal), stand(t, key, newSeal(t))
	var far []*standing // one more than anybody follows
	for range maxMoves + 1 {
		far = append(far, stand(t, key, seal))
	}
	for i, s := range far[:maxMoves] {
		s.movedTo = far[i+1].url
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct {
		from, to string
		next     string // where the server says at next that it is
		want     string
		err      error
	}{
		"there":                     {from: old.url, to: next.url, want: next.url},
		"with a slash":              {from: old.url, to: next.url + "/", want: next.url},
		"moved on":                  {from: old.url, to: next.url, next: last.url, want: last.url},
		"a person says so":          {to: next.url, next: last.url, want: last.url},
		"to itself":                 {from: old.url, to: old.url + "/", err: ErrLoop},
		"back":                      {from: old.url, to: next.url, next: old.url, err: ErrLoop},
		"to the same again":         {from: old.url, to: next.url, next: next.url, err: ErrLoop},
		"far":                       {to: far[1].url, want: far[maxMoves].url},
		"too far":                   {to: far[0].url, err: ErrLoop},
		"another sign key":          {from: old.url, to: foreign.url, err: ErrOtherServer},
		"another seal key":          {from: old.url, to: otherSeal.url, err: ErrOtherServer},
		"another server on the way": {from: old.url, to: next.url, next: foreign.url, err: ErrOtherServer},
		"unreachable":               {from: old.url, to: gone.URL, err: ErrUnreachable},
		"unreachable on the way":    {from: old.url, to: next.url, next: gone.URL, err: ErrUnreachable},
		"downgrade":                 {from: "https://old.example", to: next.url, err: ErrDowngrade},
		"downgrade in capitals":     {from: "HTTPS://old.example", to: next.url, err: ErrDowngrade},
		"in the clear":              {from: old.url, to: "http://192.0.2.1", err: ErrURL},
		"in the clear on the way":   {from: old.url, to: next.url, next: "http://192.0.2.1", err: ErrURL},
		"no address":                {from: old.url, to: "", err: ErrURL},
		"a file":                    {from: old.url, to: next.url, next: "file:///etc/passwd", err: ErrURL},
		"with a password":           {from: old.url, to: next.url, next: "https://user:password@a.example", err: ErrURL},
	} {
		next.movedTo = c.next
		got, err := Locate(context.Background(), nil, c.from, c.to, pinned, rand.Reader)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestIdentifySaysWhereTheServerIs(t *testing.T) {
	s := stand(t, newKey(t), newSeal(t))
	s.movedTo = "https://new.example"
	_, err := Identify(context.Background(), nil, s.url, rand.Reader)
	var refusal *api.Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, api.ErrMoved) || refusal.URL != s.movedTo {
		t.Errorf("a server that has moved identifies with %v", err)
	}
	s.identify = func(r *apiv1.IdentifyRequest) *apiv1.IdentifyAnswer {
		a := api.SignIdentity(s.key, s.seal.PublicKey(), r.Nonce, "", time.Now())
		a.MovedTo = "https://evil.example"
		return a
	}
	if _, err := Identify(context.Background(), nil, s.url, rand.Reader); !errors.Is(err, ErrDishonest) {
		t.Errorf("an address that the server did not sign: %v", err)
	}
}

// A request that was refused because the server has moved is sent once more, where
// whoever followed says, and not a third time.
func TestFollowedOnce(t *testing.T) {
	key, seal := newKey(t), newSeal(t)
	old, next := stand(t, key, seal), stand(t, key, seal)
	old.movedTo = next.url
	c, err := New(nil, old.url, key.PublicKey(), rand.Reader, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		_, err := c.SeedHalf(context.Background(), api.Identity{Key: newKey(t)}, &apiv1.SeedHalfRequest{Nonce: make([]byte, api.NonceSize)})
		return err
	}
	if err := ask(); !errors.Is(err, api.ErrMoved) || old.asked != 1 {
		t.Errorf("without anybody who follows: %v after %d requests", err, old.asked)
	}
	stay := errors.New("stay")
	c.OnMoved(func(context.Context, string, string) error { return stay })
	if err := ask(); !errors.Is(err, stay) || c.URL() != old.url || next.asked != 0 {
		t.Errorf("whoever follows refuses: %v, the client is at %s", err, c.URL())
	}
	moves := ""
	c.OnMoved(func(_ context.Context, from, to string) error {
		moves += from + " " + to
		return c.SetURL(to)
	})
	if err := ask(); err != nil || next.asked != 1 || c.URL() != next.url || moves != old.url+" "+next.url {
		t.Errorf("followed (%s): %v, %d requests there", moves, err, next.asked)
	}
	next.movedTo = old.url
	old.asked, next.asked = 0, 0
	if err := ask(); !errors.Is(err, api.ErrMoved) || old.asked != 1 || next.asked != 1 {
		t.Errorf("two that point at each other: %v after %d and %d requests", err, next.asked, old.asked)
	}
	// Somebody on the way, who has no key of the server, sends nobody anywhere.
	other := newKey(t)
	old.seedHalf = func(r *api.Request) (*apiv1.SignedAnswer, error) {
		return nil, (&api.Refusal{Reason: api.ErrMoved, URL: next.url}).Connect(other, r, time.Now())
	}
	c.OnMoved(func(context.Context, string, string) error { t.Error("it follows a stranger"); return nil })
	if err := ask(); !errors.Is(err, ErrDishonest) {
		t.Errorf("a stranger's word: %v", err)
	}
	old.seedHalf = func(*api.Request) (*apiv1.SignedAnswer, error) {
		return nil, (&api.Refusal{Reason: api.ErrMoved, URL: next.url}).Connect(other, nil, time.Now())
	}
	if err := ask(); !errors.Is(err, api.ErrMoved) {
		t.Errorf("a word without signature: %v", err)
	}
}
