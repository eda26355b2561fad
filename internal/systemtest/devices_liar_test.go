package systemtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// joinLiar is a server that a new device has pinned, and that names the right account:
// the person's comparison finds nothing. It shows proposals that nobody should
// endorse, and then another account's ledger.
type joinLiar struct {
	apiv1connect.UnimplementedServerServiceHandler
	t       *testing.T
	key     *signing.PrivateKey
	thief   *signing.PrivateKey
	account ledger.AccountID
	other   [][]byte // entries of another account

	mu       sync.Mutex
	request  *ledger.DeviceRequest
	right    [32]byte // id of the one proposal that may be endorsed
	waiting  []*apiv1.Waiting
	endorsed [][]byte // ids
}

func (l *joinLiar) Identify(_ context.Context, r *connect.Request[apiv1.IdentifyRequest]) (*connect.Response[apiv1.IdentifyAnswer], error) {
	seal, err := hpke.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(api.SignIdentity(l.key, seal.PublicKey(), r.Msg.Nonce, "", time.Now())), nil
}

// answer signs the answer to a request.
func (l *joinLiar) answer(procedure string, r *connect.Request[apiv1.SignedRequest], body proto.Message, make func(*api.Request) proto.Message) (*connect.Response[apiv1.SignedAnswer], error) {
	request, err := api.ParseRequest(procedure, r.Msg)
	if err != nil {
		return nil, err
	}
	if err := request.Decode(body); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := canonical.Marshal(make(request))
	if err != nil {
		return nil, err
	}
	signed, err := api.Answer(l.key, request, b, time.Now())
	return connect.NewResponse(signed), err
}

func (l *joinLiar) Join(_ context.Context, r *connect.Request[apiv1.SignedRequest]) (*connect.Response[apiv1.SignedAnswer], error) {
	q := &apiv1.JoinRequest{}
	return l.answer(apiv1connect.ServerServiceJoinProcedure, r, q, func(*api.Request) proto.Message {
		if len(q.Request) > 0 {
			var err error
			l.request, err = ledger.ParseDeviceRequest(q.Request)
			must(l.t, err)
		}
		return &apiv1.JoinAnswer{Account: l.account[:], Expires: uint64(time.Now().Add(time.Hour).UnixMilli())}
	})
}

// propose makes a proposal that waits, in the name of device 1.
func (l *joinLiar) propose(account ledger.AccountID, records ...proto.Message) [32]byte {
	p, err := canonical.Marshal(&recordv1.Proposal{
		Nonce: bytes.Repeat([]byte{byte(len(l.waiting) + 1)}, 16), BaseSequence: 2, BaseHash: make([]byte, 32),
		Expiry: uint64(time.Now().Add(time.Hour).UnixMilli()),
	})
	must(l.t, err)
	body := &apiv1.ProposeRequest{Proposal: p}
	for _, kind := range records {
		b, err := ledger.NewRecord(kind)
		must(l.t, err)
		body.Records = append(body.Records, b)
	}
	who := api.Identity{Account: &account, Device: 1, Key: l.thief}
	request, hash, err := api.NewRequest(apiv1connect.ServerServiceProposeProcedure, l.key.PublicKey(), who, body, time.Now(), rand.Reader)
	must(l.t, err)
	l.waiting = append(l.waiting, &apiv1.Waiting{Request: request, Received: 1, Expires: 2})
	return hash
}

func (l *joinLiar) added(change func(*recordv1.DeviceKeys)) *recordv1.DeviceAdded {
	m := l.request.Message()
	keys := &recordv1.DeviceKeys{SignKey: m.SignKey, SealKey: m.SealKey, ConfirmKey: m.ConfirmKey, Generation: 1, SealedName: []byte("name")}
	if change != nil {
		change(keys)
	}
	return &recordv1.DeviceAdded{Device: 2, Keys: keys}
}

func (l *joinLiar) Pending(_ context.Context, r *connect.Request[apiv1.SignedRequest]) (*connect.Response[apiv1.SignedAnswer], error) {
	return l.answer(apiv1connect.ServerServicePendingProcedure, r, &apiv1.PendingRequest{}, func(*api.Request) proto.Message {
		if l.waiting == nil {
			l.propose(l.account, l.added(func(k *recordv1.DeviceKeys) { k.SignKey = l.thief.PublicKey().Bytes() }))
			l.propose(l.account, l.added(func(k *recordv1.DeviceKeys) { k.SealKey = l.thief.PublicKey().Bytes() }))
			l.propose(l.account, l.added(func(k *recordv1.DeviceKeys) { k.ConfirmKey = l.thief.PublicKey().Bytes() }))
			l.propose(l.account, l.added(nil), &recordv1.DeviceLocked{Device: 1})
			l.propose(l.account, &recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 1, RevealsPerDay: 1}})
			l.propose(ledger.AccountID{1}, l.added(nil))
			l.right = l.propose(l.account, l.added(nil))
		}
		return &apiv1.PendingAnswer{Waiting: l.waiting}
	})
}

func (l *joinLiar) Confirm(_ context.Context, r *connect.Request[apiv1.SignedRequest]) (*connect.Response[apiv1.SignedAnswer], error) {
	q := &apiv1.ConfirmRequest{}
	return l.answer(apiv1connect.ServerServiceConfirmProcedure, r, q, func(*api.Request) proto.Message {
		l.endorsed = append(l.endorsed, q.Id)
		return &apiv1.ConfirmAnswer{}
	})
}

func (l *joinLiar) Entries(_ context.Context, r *connect.Request[apiv1.SignedRequest]) (*connect.Response[apiv1.SignedAnswer], error) {
	q := &apiv1.EntriesRequest{}
	return l.answer(apiv1connect.ServerServiceEntriesProcedure, r, q, func(*api.Request) proto.Message {
		last, err := ledger.ParseEntry(l.other[len(l.other)-1])
		must(l.t, err)
		head := last.Head()
		attestation, err := ledger.NewAttestation(&recordv1.Attestation{
			Account: l.account[:], Epoch: 1, Sequence: head.Sequence, Head: head.Hash[:], Time: uint64(time.Now().UnixMilli()),
			Nonce: q.Nonce, Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER},
		}, l.key)
		must(l.t, err)
		return &apiv1.EntriesAnswer{Entries: l.other[q.After:], Attestation: attestation}
	})
}

// A new device endorses nothing but what adds exactly itself, and takes no ledger
// but that of the account that was compared.
func TestNewDeviceAtALyingServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, eve := w.person("ann", nil), w.person("eve", nil)
	eve.close()
	h, err := home.OpenReadOnly(eve.dir)
	must(t, err)
	defer func() { _ = h.Close() }()
	l := &joinLiar{t: t, account: ann.Account()}
	l.other, err = h.Entries(0, 100)
	must(t, err)
	l.key, err = signing.GenerateKey(rand.Reader)
	must(t, err)
	l.thief, err = signing.GenerateKey(rand.Reader)
	must(t, err)
	_, handler := apiv1connect.NewServerServiceHandler(l)
	s := httptest.NewServer(handler)
	defer s.Close()

	j := w.startJoin(ann, func(_ *device.Options, o *device.JoinOptions) { o.ServerURL = s.URL })
	<-j.done
	wantCode(t, j.err, device.CodeDishonest)
	if len(l.endorsed) != 1 || !bytes.Equal(l.endorsed[0], l.right[:]) {
		t.Errorf("%d proposals were endorsed", len(l.endorsed))
	}
	h2, err := home.OpenReadOnly(j.dir)
	must(t, err)
	defer func() { _ = h2.Close() }()
	if h2.State() != nil {
		t.Error("another account's ledger was stored")
	}
}
