package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/signing"
)

// patient answers what it got before, and refuses what it did not.
type patient struct {
	apiv1connect.UnimplementedServerServiceHandler
	key *signing.PrivateKey
	got [][]byte
}

func (s *patient) Reveal(_ context.Context, r *connect.Request[apiv1.SignedRequest]) (*connect.Response[apiv1.SignedAnswer], error) {
	request, err := api.ParseRequest(apiv1connect.ServerServiceRevealProcedure, r.Msg)
	if err != nil {
		return nil, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Msg)
	if err != nil {
		return nil, err
	}
	if s.got = append(s.got, b); len(s.got) == 1 {
		refusal := api.Refuse(api.ErrConfirmationPending, "wait")
		refusal.Expires, refusal.Devices = time.UnixMilli(5000), []uint64{2}
		return nil, refusal.Connect(s.key, request, time.Now())
	}
	body, err := canonical.Marshal(&apiv1.RevealAnswer{Sealed: []byte("sealed")})
	if err != nil {
		return nil, err
	}
	answer, err := api.Answer(s.key, request, body, time.Now())
	return connect.NewResponse(answer), err
}

func TestPreparedIsSentAgainByteForByte(t *testing.T) {
	s := &patient{key: newKey(t)}
	_, handler := apiv1connect.NewServerServiceHandler(s)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := New(nil, server.URL, s.key.PublicKey(), rand.Reader, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.PrepareReveal(api.Identity{Key: newKey(t)}, &apiv1.RevealRequest{Purpose: api.PurposeGet}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Hash() != api.RequestHash(p.Request()) {
		t.Error("the hash is another request's")
	}
	_, err = p.Send(t.Context())
	var refusal *api.Refusal
	if !errors.As(err, &refusal) || !refusal.Signed || !errors.Is(err, api.ErrConfirmationPending) || refusal.Expires.UnixMilli() != 5000 || len(refusal.Devices) != 1 {
		t.Fatalf("got %v", err)
	}
	answer, err := p.Send(t.Context())
	if err != nil || string(answer.Sealed) != "sealed" {
		t.Fatalf("got %v (%v)", answer, err)
	}
	if string(s.got[0]) != string(s.got[1]) {
		t.Error("other bytes came the second time")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if answer, err := p.Send(ctx); answer != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller gave up: %v (%v)", answer, err)
	}
}
