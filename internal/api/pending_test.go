package api

import (
	"errors"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
)

// A request that waited is of the time when it came first.
func TestFitsWhenItCame(t *testing.T) {
	server := newKey().PublicKey()
	message, _ := request(t, server, &apiv1.RevealRequest{})
	r := must(ParseRequest(procedure, message))
	for came, want := range map[time.Duration]bool{0: true, MaxClockSkew: true, -MaxClockSkew: true, MaxClockSkew + time.Millisecond: false, -MaxClockSkew - time.Millisecond: false} {
		if err := r.Fits(server, now.Add(came)); (err == nil) != want || err != nil && !errors.Is(err, ErrClock) {
			t.Errorf("came %v after it was signed: %v", came, err)
		}
	}
}

// Second factors that the server kept come into the log without changing what was
// asked, and the one that was sent stays as it was.
func TestWithConfirmations(t *testing.T) {
	server, other := newKey().PublicKey(), newKey()
	message, hash := request(t, server, &apiv1.RevealRequest{Purpose: PurposeGet})
	r := must(ParseRequest(procedure, message))
	c := must(NewConfirmation(hash, apiv1.Confirmation_KEY_SIGN, 2, other))
	with := r.With([]*apiv1.Confirmation{c})
	if len(r.Confirmations()) != 0 || len(message.Confirmations) != 0 {
		t.Error("the request itself has changed")
	}
	logged, body, err := ParseLogged(must(LoggedRequest(with)))
	if err != nil || logged.Hash != hash || string(body) != string(message.Body) {
		t.Fatalf("the log has %v (%v)", logged, err)
	}
	if got := logged.Confirmations(); len(got) != 1 || !logged.Confirmed(got[0], other.PublicKey()) {
		t.Errorf("the log has confirmations %v", got)
	}
	Confirm(message, apiv1.Confirmation_KEY_SIGN, 2, other)
	if string(message.Confirmations[0].Signature) != string(c.Signature) {
		t.Error("a confirmation by id is another than one of the request")
	}
}

// Whatever Append takes can be proposed before.
func TestProposeLimit(t *testing.T) {
	if BodyLimit(apiv1connect.ServerServiceProposeProcedure) != BodyLimit(apiv1connect.ServerServiceAppendProcedure) {
		t.Error("less can be proposed than appended")
	}
}
