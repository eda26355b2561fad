package crashtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/signing"
)

// wire is a way to a server that dies and comes back. Requests are kept as they
// were sent, to be sent again: internal/client does not show them.
type wire struct {
	url   string
	http  *http.Client
	rpc   apiv1connect.ServerServiceClient
	sign  *signing.PublicKey
	seal  *hpke.PublicKey
	dying atomic.Bool   // the server is being killed, so that no answer means nothing
	acked atomic.Int64  // writes that were acknowledged
	all   *atomic.Int64 // those of all servers, or nil
}

// acknowledged counts a write.
func (w *wire) acknowledged() {
	w.acked.Add(1)
	if w.all != nil {
		w.all.Add(1)
	}
}

// errGone: no answer came. Whether the server did what it was asked is not known.
var errGone = errors.New("the server is gone")

// connect begins a life of the server. Its keys stay what they are.
func (w *wire) connect(ctx context.Context, url string) error {
	w.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	w.url, w.rpc = url, apiv1connect.NewServerServiceClient(w.http, url, connect.WithReadMaxBytes(api.MaxMessage))
	w.dying.Store(false)
	if w.sign != nil {
		return nil
	}
	who, err := client.Identify(ctx, w.http, url, rand.Reader)
	if err != nil {
		return err
	}
	w.sign, err = signing.NewPublicKey(who.SignKey)
	if err == nil {
		w.seal, err = hpke.NewPublicKey(who.SealKey)
	}
	return err
}

func (w *wire) disconnect() {
	if w.http != nil {
		w.http.CloseIdleConnections()
	}
}

// procedure is one of the API.
type procedure struct {
	name string
	call func(apiv1connect.ServerServiceClient, context.Context, *connect.Request[apiv1.SignedRequest]) (*connect.Response[apiv1.SignedAnswer], error)
}

var (
	createAccount  = procedure{apiv1connect.ServerServiceCreateAccountProcedure, apiv1connect.ServerServiceClient.CreateAccount}
	seedHalf       = procedure{apiv1connect.ServerServiceSeedHalfProcedure, apiv1connect.ServerServiceClient.SeedHalf}
	appendEntries  = procedure{apiv1connect.ServerServiceAppendProcedure, apiv1connect.ServerServiceClient.Append}
	askEntries     = procedure{apiv1connect.ServerServiceEntriesProcedure, apiv1connect.ServerServiceClient.Entries}
	sealedShares   = procedure{apiv1connect.ServerServiceSealedSharesProcedure, apiv1connect.ServerServiceClient.SealedShares}
	attest         = procedure{apiv1connect.ServerServiceAttestProcedure, apiv1connect.ServerServiceClient.Attest}
	reveal         = procedure{apiv1connect.ServerServiceRevealProcedure, apiv1connect.ServerServiceClient.Reveal}
	activityLog    = procedure{apiv1connect.ServerServiceActivityLogProcedure, apiv1connect.ServerServiceClient.ActivityLog}
	sendMessage    = procedure{apiv1connect.ServerServiceSendMessageProcedure, apiv1connect.ServerServiceClient.SendMessage}
	inbox          = procedure{apiv1connect.ServerServiceInboxProcedure, apiv1connect.ServerServiceClient.Inbox}
	startRecovery  = procedure{apiv1connect.ServerServiceStartRecoveryProcedure, apiv1connect.ServerServiceClient.StartRecovery}
	approve        = procedure{apiv1connect.ServerServiceApproveProcedure, apiv1connect.ServerServiceClient.Approve}
	recoveryStatus = procedure{apiv1connect.ServerServiceRecoveryStatusProcedure, apiv1connect.ServerServiceClient.RecoveryStatus}
)

// sent is a request that was sent.
type sent struct {
	procedure procedure
	message   *apiv1.SignedRequest
	hash      [32]byte
}

// ask signs a request, sends it, and reads the answer. The error is errGone, a
// refusal by the server, or a reason to stop everything.
func (w *wire) ask(ctx context.Context, p procedure, who api.Identity, body, answer proto.Message, confirm func(*apiv1.SignedRequest)) (*sent, error) {
	message, hash, err := api.NewRequest(p.name, w.sign, who, body, time.Now(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if confirm != nil {
		confirm(message)
	}
	s := &sent{p, message, hash}
	return s, w.send(ctx, s, answer)
}

// send sends a request, again for all it knows.
func (w *wire) send(ctx context.Context, s *sent, answer proto.Message) error {
	response, err := s.procedure.call(w.rpc, ctx, connect.NewRequest(s.message))
	if err == nil {
		return api.OpenAnswer(w.sign, s.hash, response.Msg, answer)
	}
	told := api.FromConnect(w.sign, s.hash, err)
	var refusal *api.Refusal
	switch {
	case errors.As(told, &refusal) && !errors.Is(told, api.ErrUnavailable):
		return told
	case w.dying.Load() || slices.Contains([]connect.Code{connect.CodeUnavailable, connect.CodeInternal}, connect.CodeOf(err)) && errors.Is(told, api.ErrUnavailable):
		return errGone // or the server says that it cannot
	}
	return fmt.Errorf("no answer, and nobody killed the server: %w", err)
}
