package server_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/signing"
)

// Where the server has moved from, every procedure is refused with its new address,
// signed for the request, whoever asks; and without a good signature of whoever asks
// nothing is signed.
func TestMovedServerNamesItsNewAddress(t *testing.T) {
	const elsewhere = "https://new.example"
	keys, now := must(server.GenerateKeys(rand.Reader)), time.Now()
	var outcomes []server.Outcome
	s := must(server.New(t.Context(), server.Config{
		Keys: keys, Now: func() time.Time { return now }, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), MovedTo: elsewhere,
		Observe: func(o server.Outcome) { outcomes = append(outcomes, o) },
	}))
	h := httptest.NewServer(s.MovedHandler())
	defer h.Close()
	defer h.Client().CloseIdleConnections()

	_, err := client.Identify(t.Context(), h.Client(), h.URL, rand.Reader)
	wantMoved(t, "Identify", err, elsewhere)

	rpc := apiv1connect.NewServerServiceClient(h.Client(), h.URL)
	device := must(signing.GenerateKey(rand.Reader))
	send := func(procedure string, server *signing.PublicKey, change func(*apiv1.SignedRequest)) error {
		request, hash, err := api.NewRequest("/"+apiv1connect.ServerServiceName+"/"+procedure, server, api.Identity{Key: device}, &apiv1.PendingRequest{}, now, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		change(request)
		if procedure == "Watch" {
			stream, err := rpc.Watch(t.Context(), connect.NewRequest(request))
			if err == nil {
				for stream.Receive() {
				}
				err = stream.Err()
				_ = stream.Close()
			}
			return api.FromConnect(keys.SignKey(), hash, err)
		}
		answers := reflect.ValueOf(rpc).MethodByName(procedure).Call([]reflect.Value{reflect.ValueOf(t.Context()), reflect.ValueOf(connect.NewRequest(request))})
		err, _ = answers[1].Interface().(error)
		return api.FromConnect(keys.SignKey(), hash, err)
	}
	asItIs := func(*apiv1.SignedRequest) {}
	methods := apiv1.File_zeropass_api_v1_service_proto.Services().ByName("ServerService").Methods()
	if methods.Len() < 20 {
		t.Fatalf("%d procedures", methods.Len())
	}
	for i := range methods.Len() {
		if procedure := string(methods.Get(i).Name()); procedure != "Identify" {
			wantMoved(t, procedure, send(procedure, keys.SignKey(), asItIs), elsewhere)
		}
	}
	if i := slices.IndexFunc(outcomes, func(o server.Outcome) bool { return o.Procedure != "Identify" && o.Reason != "moved" }); i >= 0 {
		t.Errorf("%s ended as %q", outcomes[i].Procedure, outcomes[i].Reason)
	}
	if err := send("Entries", device.PublicKey(), asItIs); !errors.Is(err, api.ErrWrongServer) {
		t.Errorf("a request for another server: %v", err)
	}
	err = send("Entries", keys.SignKey(), func(r *apiv1.SignedRequest) { r.Signature[5] ^= 1 })
	var refusal *api.Refusal
	if !errors.As(err, &refusal) || refusal.Signed || refusal.URL != "" {
		t.Errorf("a request with a wrong signature: %+v", err)
	}
	now = now.Add(time.Hour)
	wantMoved(t, "after an hour", send("Entries", keys.SignKey(), asItIs), elsewhere)
}

func wantMoved(t *testing.T, what string, err error, to string) {
	t.Helper()
	var refusal *api.Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, api.ErrMoved) || !refusal.Signed || refusal.URL != to {
		t.Errorf("%s: %v", what, err)
	}
}

// Whoever asks too often is told that, here too.
func TestMovedServerLimitsDevices(t *testing.T) {
	keys := must(server.GenerateKeys(rand.Reader))
	s := must(server.New(t.Context(), server.Config{Keys: keys, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), MovedTo: "https://new.example"}))
	h := httptest.NewServer(s.MovedHandler())
	defer h.Close()
	defer h.Client().CloseIdleConnections()
	c := must(client.New(h.Client(), h.URL, keys.SignKey(), rand.Reader, time.Now))
	who := api.Identity{Key: must(signing.GenerateKey(rand.Reader))}
	for range 5000 {
		if _, err := c.Pending(context.Background(), who); errors.Is(err, api.ErrRateLimited) {
			return
		} else if !errors.Is(err, api.ErrMoved) {
			t.Fatal(err)
		}
	}
	t.Error("a device may ask without end")
}
