package api

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const procedure = apiv1connect.ServerServiceRevealProcedure

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newKey() *signing.PrivateKey { return must(signing.GenerateKey(rand.Reader)) }

// request makes a request of a device.
func request(t *testing.T, server *signing.PublicKey, body proto.Message) (*apiv1.SignedRequest, [32]byte) {
	t.Helper()
	r, hash, err := NewRequest(procedure, server, Identity{Account: &ledger.AccountID{7}, Device: 3, Key: newKey()}, body, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r, hash
}

func TestRequestRoundTrip(t *testing.T) {
	server := newKey()
	body := &apiv1.RevealRequest{Purpose: PurposeGet}
	message, hash := request(t, server.PublicKey(), body)
	other := newKey()
	Confirm(message, apiv1.Confirmation_KEY_SIGN, 4, other)

	r, err := ParseRequest(procedure, message)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := r.Account(); !ok || id != (ledger.AccountID{7}) || r.Header.Device != 3 || !r.Time.Equal(now) || r.Hash != hash || RequestHash(message) != hash {
		t.Errorf("got %+v", r)
	}
	if err := r.Fits(server.PublicKey(), now); err != nil {
		t.Error(err)
	}
	got := &apiv1.RevealRequest{}
	if err := r.Decode(got); err != nil || !proto.Equal(got, body) {
		t.Errorf("body %v, %v", got, err)
	}
	c := r.Confirmations()[0]
	if !r.Confirmed(c, other.PublicKey()) || r.Confirmed(c, server.PublicKey()) {
		t.Error("a confirmation counts for another key, or not for its own")
	}
	for _, changed := range []*apiv1.Confirmation{
		{Key: apiv1.Confirmation_KEY_CONFIRM, Device: c.Device, Signature: c.Signature},
		{Key: c.Key, Device: 5, Signature: c.Signature},
	} {
		if r.Confirmed(changed, other.PublicKey()) {
			t.Errorf("%v counts", changed)
		}
	}
	logged, body2, err := ParseLogged(must(LoggedRequest(r)))
	if err != nil || logged.Hash != hash || len(body2) == 0 || len(logged.Confirmations()) != 1 {
		t.Errorf("logged: %+v, %v", logged, err)
	}
}

// A key that is known saves reading it, and never stands for another one.
func TestKnownKey(t *testing.T) {
	server := newKey()
	message, hash := request(t, server.PublicKey(), &apiv1.RevealRequest{Purpose: PurposeGet})
	h := &apiv1.RequestHeader{}
	if err := canonical.Unmarshal(message.Header, h); err != nil {
		t.Fatal(err)
	}
	own, other := must(signing.NewPublicKey(h.SignKey)), newKey()
	for name, known := range map[string]*signing.PublicKey{"its own": own, "another's": other.PublicKey()} {
		var asked *apiv1.RequestHeader
		r, err := ParseRequestOf(procedure, message, func(h *apiv1.RequestHeader) *signing.PublicKey {
			asked = h
			return known
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Hash != hash || !r.Key.Equal(own) || (r.Key == known) != (known == own) || asked.Device != 3 {
			t.Errorf("%s: got %+v", name, r)
		}
	}
	message.Signature = other.Sign(requestContext(message.Header))
	if r, err := ParseRequestOf(procedure, message, func(*apiv1.RequestHeader) *signing.PublicKey { return other.PublicKey() }); !errors.Is(err, ErrBadSignature) {
		t.Errorf("with the key that is known, not the one that the header names: %v, %v", r, err)
	}
}

// Every bit of a request is under its signature.
func TestRequestTampered(t *testing.T) {
	server := newKey()
	message, _ := request(t, server.PublicKey(), &apiv1.RevealRequest{Purpose: PurposeGet})
	whole := must(canonical.Marshal(message))
	for i := range len(whole) * 8 {
		b := append([]byte(nil), whole...)
		b[i/8] ^= 1 << (i % 8)
		changed := &apiv1.SignedRequest{}
		if proto.Unmarshal(b, changed) != nil || proto.Equal(changed, message) || len(changed.ProtoReflect().GetUnknown()) > 0 {
			continue
		}
		if r, err := ParseRequest(procedure, changed); err == nil && len(r.Confirmations()) == 0 {
			t.Fatalf("bit %d of byte %d: taken as %v", i%8, i/8, r.Header)
		} else if r != nil && err != nil {
			t.Fatalf("bit %d: a request with an error", i)
		}
	}
	if _, err := ParseRequest(apiv1connect.ServerServiceAppendProcedure, message); !errors.Is(err, ErrMalformed) {
		t.Errorf("for another procedure: %v", err)
	}
}

func TestAnswerRoundTrip(t *testing.T) {
	server := newKey()
	message, hash := request(t, server.PublicKey(), &apiv1.RevealRequest{})
	r := must(ParseRequest(procedure, message))
	body := must(canonical.Marshal(&apiv1.RevealAnswer{Sealed: []byte("sealed")}))
	answer := must(Answer(server, r, body, now))
	got := &apiv1.RevealAnswer{}
	if err := OpenAnswer(server.PublicKey(), hash, answer, got); err != nil || string(got.Sealed) != "sealed" {
		t.Fatalf("got %v, %v", got, err)
	}
	refusal := must2(signAnswer(server, hash, apiv1.Reason_REASON_VETOED, body, now))
	for name, bad := range map[string]*apiv1.SignedAnswer{
		"nothing":           nil,
		"another body":      {Header: answer.Header, Signature: answer.Signature, Body: append(body, 0)},
		"another header":    {Header: append(answer.Header, 0), Signature: answer.Signature, Body: body},
		"another signature": {Header: answer.Header, Signature: newKey().Sign(answerContext(answer.Header)), Body: body},
		"a refusal":         {Header: refusal[0], Signature: refusal[1], Body: body},
	} {
		if err := OpenAnswer(server.PublicKey(), hash, bad, &apiv1.RevealAnswer{}); !errors.Is(err, ErrDishonest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := OpenAnswer(server.PublicKey(), [32]byte{1}, answer, got); !errors.Is(err, ErrDishonest) {
		t.Errorf("for another request: %v", err)
	}
	if err := OpenAnswer(newKey().PublicKey(), hash, answer, got); !errors.Is(err, ErrDishonest) {
		t.Errorf("of another server: %v", err)
	}
}

func must2(a, b []byte, err error) [2][]byte {
	if err != nil {
		panic(err)
	}
	return [2][]byte{a, b}
}

func TestIdentity(t *testing.T) {
	server, seal := newKey(), must(hpke.GenerateKey(rand.Reader))
	a := SignIdentity(server, seal.PublicKey(), []byte("nonce"), "", now)
	if sign, got, err := VerifyIdentity([]byte("nonce"), a); err != nil || !sign.Equal(server.PublicKey()) || string(got.Bytes()) != string(seal.PublicKey().Bytes()) {
		t.Errorf("got %v", err)
	}
	if _, _, err := VerifyIdentity([]byte("other"), a); !errors.Is(err, ErrDishonest) {
		t.Errorf("for another nonce: %v", err)
	}
	a.SealKey = must(hpke.GenerateKey(rand.Reader)).PublicKey().Bytes()
	if _, _, err := VerifyIdentity([]byte("nonce"), a); !errors.Is(err, ErrDishonest) {
		t.Errorf("with another seal key: %v", err)
	}
}

// Every reason of the schema has its sentinel, its words and its code, and the
// words are its own.
func TestReasonsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for number, name := range apiv1.Reason_name {
		r := Reason(number)
		known, ok := reasons[r]
		if ok != (number != 0) {
			t.Errorf("%s: known is %v", name, ok)
		}
		if ok && (known.code == 0 || seen[known.text]) {
			t.Errorf("%s: %+v", name, known)
		}
		seen[known.text] = true
	}
	if text := Reason(9999).Error(); !strings.Contains(text, "9999") {
		t.Errorf("an unknown reason is %q", text)
	}
}

// A refusal travels through a real connection with all that it says.
func TestRefusalRoundTrip(t *testing.T) {
	server := newKey()
	sent := &Refusal{
		Reason: ErrPeriodNotOver, Message: "come back", Attestation: []byte("head"), RetryAfter: 90*time.Second + 1, Approvals: 1, Quorum: 2,
		Expires: now.Add(PendingLife), Devices: []uint64{0, 2}, URL: "https://new.example",
	}
	message, hash := request(t, server.PublicKey(), &apiv1.RevealRequest{})
	r := must(ParseRequest(procedure, message))
	err := FromConnect(server.PublicKey(), hash, through(t, sent.Connect(server, r, now)))
	var got *Refusal
	if !errors.As(err, &got) || !got.Signed || !errors.Is(err, ErrPeriodNotOver) || errors.Is(err, ErrVetoed) {
		t.Fatalf("got %v", err)
	}
	if got.Message != sent.Message || string(got.Attestation) != "head" || got.RetryAfter != 91*time.Second || got.Approvals != 1 || got.Quorum != 2 ||
		!got.Expires.Equal(sent.Expires) || !slices.Equal(got.Devices, sent.Devices) || got.URL != sent.URL {
		t.Errorf("got %+v", got)
	}
	err = FromConnect(server.PublicKey(), hash, through(t, sent.Connect(server, nil, now)))
	if !errors.As(err, &got) || got.Signed || got.RetryAfter != 0 {
		t.Errorf("without a request: %+v", got)
	}
	for name, dishonest := range map[string]error{
		"of another server":   FromConnect(newKey().PublicKey(), hash, through(t, sent.Connect(server, r, now))),
		"for another request": FromConnect(server.PublicKey(), [32]byte{1}, through(t, sent.Connect(server, r, now))),
		"with another reason": FromConnect(server.PublicKey(), hash, through(t, changed(t, sent.Connect(server, r, now)))),
	} {
		if !errors.Is(dishonest, ErrDishonest) {
			t.Errorf("%s: %v", name, dishonest)
		}
	}
	if err := FromConnect(server.PublicKey(), hash, connect.NewError(connect.CodeInternal, errors.New("proxy"))); !errors.Is(err, ErrUnreachable) {
		t.Errorf("an error without a refusal: %v", err)
	}
	if err := FromConnect(server.PublicKey(), hash, fmt.Errorf("dial")); !errors.Is(err, ErrUnreachable) {
		t.Errorf("no answer: %v", err)
	}
	if FromConnect(server.PublicKey(), hash, nil) != nil {
		t.Error("no error became one")
	}
}

// through sends an error over HTTP.
func through(t *testing.T, failure *connect.Error) error {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = connect.NewErrorWriter().Write(w, r, failure)
	}))
	defer s.Close()
	c := apiv1connect.NewServerServiceClient(s.Client(), s.URL)
	_, err := c.Reveal(t.Context(), connect.NewRequest(&apiv1.SignedRequest{}))
	return err
}

// changed gives a refusal another reason.
func changed(t *testing.T, failure *connect.Error) *connect.Error {
	t.Helper()
	detail := must(failure.Details()[0].Value()).(*apiv1.Refusal)
	detail.Reason = apiv1.Reason_REASON_RECOVERY_OVER
	other := connect.NewError(failure.Code(), errors.New("changed"))
	other.AddDetail(must(connect.NewErrorDetail(detail)))
	return other
}

// What is sealed for one place opens in no other.
func TestSealedShares(t *testing.T) {
	key := must(hpke.GenerateKey(rand.Reader))
	shares := &apiv1.RevealedShares{Shares: []*apiv1.RevealedShare{{Share: []byte("share")}}}
	place := RevealPlace{Account: ledger.AccountID{1}, Request: [32]byte{2}, Device: 3}
	sealed := must(SealReveal(rand.Reader, place, key.PublicKey(), shares))
	if got, err := OpenReveal(key, place, sealed); err != nil || !proto.Equal(got, shares) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, other := range []RevealPlace{{place.Account, place.Request, 4}, {place.Account, [32]byte{}, 3}, {ledger.AccountID{}, place.Request, 3}} {
		if got, err := OpenReveal(key, other, sealed); !errors.Is(err, ErrDishonest) || got != nil {
			t.Errorf("%v: %v, %v", other, got, err)
		}
	}
	page := ReleasePlace{Account: ledger.AccountID{1}, Epoch: 2, Recovery: ledger.Hash{3}, After: 4}
	sealed = must(SealRelease(rand.Reader, page, key.PublicKey(), &apiv1.ReleasedShares{SeedShare: []byte("seed")}))
	if got, err := OpenRelease(key, page, sealed); err != nil || string(got.SeedShare) != "seed" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, other := range []ReleasePlace{
		{page.Account, 2, page.Recovery, 5}, {page.Account, 3, page.Recovery, 4}, {page.Account, 2, ledger.Hash{}, 4}, {ledger.AccountID{}, 2, page.Recovery, 4},
	} {
		if _, err := OpenRelease(key, other, sealed); !errors.Is(err, ErrDishonest) {
			t.Errorf("%v: %v", other, err)
		}
	}
}

// The activity log keeps the words of a request, and not what it carries.
func TestLoggedRequest(t *testing.T) {
	server := newKey().PublicKey()
	for p, withBody := range map[string]bool{
		apiv1connect.ServerServiceCreateAccountProcedure: false,
		apiv1connect.ServerServiceAppendProcedure:        false,
		apiv1connect.ServerServiceApproveProcedure:       false,
		apiv1connect.ServerServiceSendMessageProcedure:   false,
		apiv1connect.ServerServiceSetAlarmsProcedure:     false,
		apiv1connect.ServerServiceProposeProcedure:       false,
		apiv1connect.ServerServiceRevealProcedure:        true,
		apiv1connect.ServerServiceReleaseProcedure:       true,
		apiv1connect.ServerServiceStartRecoveryProcedure: true,
	} {
		message, hash, err := NewRequest(p, server, Identity{Key: newKey()}, &apiv1.SeedHalfRequest{Nonce: []byte("words")}, now, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		b := must(LoggedRequest(must(ParseRequest(p, message))))
		r, body, err := ParseLogged(b)
		if err != nil || r.Hash != hash || (len(body) > 0) != withBody {
			t.Errorf("%s: %d bytes of body, %v", p, len(body), err)
		}
		b[len(b)/3] ^= 1
		if r, _, err := ParseLogged(b); err == nil && r.Hash == hash {
			t.Errorf("%s: a changed log is taken", p)
		}
	}
}
