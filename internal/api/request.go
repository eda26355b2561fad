package api

import (
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Identity is who asks.
type Identity struct {
	Account *ledger.AccountID // nil before there is one
	Device  uint64            // number in the account; 0 for a device in no ledger
	Key     signing.Signer
}

// NewRequest signs a request and returns it with its hash, which the answer and
// every second factor refer to. The procedure is one of apiv1connect's
// constants. Its errors are rand's, canonical's and the key's.
func NewRequest(procedure string, server *signing.PublicKey, who Identity, body proto.Message, now time.Time, rand io.Reader) (*apiv1.SignedRequest, [32]byte, error) {
	encoded, err := canonical.Marshal(body)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("api: request: %w", err)
	}
	bodyHash := sha256.Sum256(encoded)
	h := &apiv1.RequestHeader{
		Procedure: procedure,
		Server:    server.Bytes(),
		Device:    who.Device,
		SignKey:   who.Key.PublicKey().Bytes(),
		Time:      uint64(now.UnixMilli()),
		Nonce:     make([]byte, NonceSize),
		BodyHash:  bodyHash[:],
	}
	if who.Account != nil {
		h.Account = who.Account[:]
	}
	if _, err := io.ReadFull(rand, h.Nonce); err != nil {
		return nil, [32]byte{}, fmt.Errorf("api: nonce of a request: %w", err)
	}
	header, err := canonical.Marshal(h)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("api: request: %w", err)
	}
	signature, err := who.Key.SignContext(requestContext(header))
	if err != nil {
		return nil, [32]byte{}, err
	}
	return &apiv1.SignedRequest{Header: header, Signature: signature, Body: encoded}, requestHash(header), nil
}

// RequestHash returns the hash of a request that was made elsewhere, for the
// device that is asked to confirm it. It does not check the request; see
// [ParseRequest].
func RequestHash(request *apiv1.SignedRequest) [32]byte { return requestHash(request.GetHeader()) }

func requestContext(header []byte) *signing.Context {
	return signing.NewContext("api-request").Bytes(header)
}

func requestHash(header []byte) [32]byte {
	return signing.NewContext("api-request-hash").Bytes(header).Hash()
}

// Confirm adds a second factor to a request: the sign key of another device, or
// the confirm key of the only one.
func Confirm(request *apiv1.SignedRequest, kind apiv1.Confirmation_Key, device uint64, key *signing.PrivateKey) {
	request.Confirmations = append(request.Confirmations, &apiv1.Confirmation{
		Key:       kind,
		Device:    device,
		Signature: key.Sign(confirmationContext(RequestHash(request), kind, device)),
	})
}

// NewConfirmation is a second factor over the hash of a whole request, which is
// the id of a request that waits. Its error is the key's.
func NewConfirmation(request [32]byte, kind apiv1.Confirmation_Key, device uint64, key signing.Signer) (*apiv1.Confirmation, error) {
	signature, err := key.SignContext(confirmationContext(request, kind, device))
	if err != nil {
		return nil, err
	}
	return &apiv1.Confirmation{Key: kind, Device: device, Signature: signature}, nil
}

func confirmationContext(request [32]byte, kind apiv1.Confirmation_Key, device uint64) *signing.Context {
	return signing.NewContext("confirmation").Bytes(request[:]).Uint(uint64(kind)).Uint(device)
}

// Request is a request whose signature is good. Who may ask with that key is for
// the server to know.
type Request struct {
	Header  *apiv1.RequestHeader
	Hash    [32]byte
	Key     *signing.PublicKey // that signed
	Time    time.Time
	message *apiv1.SignedRequest
}

// ParseRequest reads a request strictly and checks that it was made for this
// procedure and signed with the key that its header names. Its errors are
// *[Refusal]s. The caller checks server and time with [Request.Fits] next, whose
// refusals can be signed.
func ParseRequest(procedure string, message *apiv1.SignedRequest) (*Request, error) {
	return ParseRequestOf(procedure, message, func(*apiv1.RequestHeader) *signing.PublicKey { return nil })
}

// ParseRequestOf is [ParseRequest] for who knows many devices: known returns the sign
// key that the device should have, or nil. If it is the one that the header names, its
// point need not be computed again.
func ParseRequestOf(procedure string, message *apiv1.SignedRequest, known func(*apiv1.RequestHeader) *signing.PublicKey) (*Request, error) {
	h := &apiv1.RequestHeader{}
	if err := canonical.Unmarshal(message.GetHeader(), h); err != nil {
		return nil, unreadable("request's header", err)
	}
	for _, field := range []struct {
		name      string
		have      int
		want      int
		mayBeNone bool
	}{
		{"server", len(h.Server), signing.PublicKeySize, false},
		{"account", len(h.Account), 32, true},
		{"nonce", len(h.Nonce), NonceSize, false},
		{"body_hash", len(h.BodyHash), sha256.Size, false},
	} {
		if field.have != field.want && (field.have != 0 || !field.mayBeNone) {
			return nil, Refuse(ErrMalformed, "header.%s has %d bytes instead of %d", field.name, field.have, field.want)
		}
	}
	if len(h.Account) == 0 && h.Device != 0 {
		return nil, Refuse(ErrMalformed, "the header names a device without an account")
	}
	if h.Time > maxTime {
		return nil, Refuse(ErrMalformed, "the header's time is beyond the year 9999")
	}
	if len(message.Confirmations) > MaxConfirmations {
		return nil, Refuse(ErrMalformed, "more than %d confirmations", MaxConfirmations)
	}
	key := known(h)
	if key == nil || string(key.Bytes()) != string(h.SignKey) {
		var err error
		if key, err = signing.NewPublicKey(h.SignKey); err != nil {
			return nil, Refuse(ErrMalformed, "header.sign_key is no public key")
		}
	}
	if !key.Verify(requestContext(message.Header), message.Signature) {
		return nil, Refuse(ErrBadSignature, "the request is not signed with the key that it names")
	}
	r := &Request{
		Header:  h,
		Hash:    requestHash(message.Header),
		Key:     key,
		Time:    time.UnixMilli(int64(h.Time)).UTC(),
		message: message,
	}
	if sum := sha256.Sum256(message.Body); string(sum[:]) != string(h.BodyHash) {
		return nil, Refuse(ErrBadSignature, "the body is not the one that was signed")
	}
	if h.Procedure != procedure {
		return nil, Refuse(ErrMalformed, "the request was signed for %q", h.Procedure)
	}
	return r, nil
}

// maxTime is the end of the year 9999 in milliseconds, as in the ledger.
const maxTime = 253402300799999

// Fits says by a *[Refusal] that the request is meant for another server, was not
// of this time when it came, or has too large a body. A request that has waited
// for a second factor and comes again came when the server kept it.
func (r *Request) Fits(server *signing.PublicKey, came time.Time) error {
	if string(r.Header.Server) != string(server.Bytes()) {
		return Refuse(ErrWrongServer, "the request was made for another server")
	}
	if off := came.Sub(r.Time); off > MaxClockSkew || off < -MaxClockSkew {
		return Refuse(ErrClock, "the request's time is off by %s: set the device's clock", off.Abs().Round(time.Second))
	}
	if limit := BodyLimit(r.Header.Procedure); len(r.message.Body) > limit {
		return Refuse(ErrTooLarge, "a body of %d bytes, at most %d are taken", len(r.message.Body), limit)
	}
	return nil
}

// Account returns the account that the header names, and false if it names none.
func (r *Request) Account() (ledger.AccountID, bool) {
	if len(r.Header.Account) == 0 {
		return ledger.AccountID{}, false
	}
	return ledger.AccountID(r.Header.Account), true
}

// Decode reads the body strictly. Its error is a *[Refusal].
func (r *Request) Decode(body proto.Message) error {
	if err := canonical.Unmarshal(r.message.Body, body); err != nil {
		return unreadable("request's body", err)
	}
	return nil
}

// Confirmations returns the second factors that came with the request,
// unchecked.
func (r *Request) Confirmations() []*apiv1.Confirmation { return r.message.Confirmations }

// Message returns the request as it was sent. Do not change it.
func (r *Request) Message() *apiv1.SignedRequest { return r.message }

// With returns the same request with these second factors in place of those that
// came with it.
func (r *Request) With(confirmations []*apiv1.Confirmation) *Request {
	with := *r
	with.message = &apiv1.SignedRequest{
		Header: r.message.Header, Signature: r.message.Signature, Body: r.message.Body, Confirmations: confirmations,
	}
	return &with
}

// Confirmed says whether c is the key's confirmation of this request.
func (r *Request) Confirmed(c *apiv1.Confirmation, key *signing.PublicKey) bool {
	return key.Verify(confirmationContext(r.Hash, c.Key, c.Device), c.Signature)
}

func (r *Request) logged() ([]byte, error) {
	logged := &apiv1.SignedRequest{
		Header:        r.message.Header,
		Signature:     r.message.Signature,
		Confirmations: r.message.Confirmations,
	}
	switch r.Header.Procedure {
	case apiv1connect.ServerServiceCreateAccountProcedure, apiv1connect.ServerServiceAppendProcedure,
		apiv1connect.ServerServiceProposeProcedure, apiv1connect.ServerServiceApproveProcedure,
		apiv1connect.ServerServiceSendMessageProcedure, apiv1connect.ServerServiceSetAlarmsProcedure:
	default:
		logged.Body = r.message.Body
	}
	return canonical.Marshal(logged)
}

// ParseLogged reads what [LoggedRequest] wrote. The body is empty where the log
// keeps none. Its errors are *[Refusal]s.
func ParseLogged(logged []byte) (*Request, []byte, error) {
	message := &apiv1.SignedRequest{}
	if err := canonical.Unmarshal(logged, message); err != nil {
		return nil, nil, unreadable("logged request", err)
	}
	h := &apiv1.RequestHeader{}
	if err := canonical.Unmarshal(message.Header, h); err != nil {
		return nil, nil, unreadable("logged request's header", err)
	}
	key, err := signing.NewPublicKey(h.SignKey)
	if err != nil {
		return nil, nil, Refuse(ErrMalformed, "a logged request names no public key")
	}
	if !key.Verify(requestContext(message.Header), message.Signature) {
		return nil, nil, Refuse(ErrBadSignature, "a logged request is not signed with the key that it names")
	}
	if sum := sha256.Sum256(message.Body); len(message.Body) > 0 && string(sum[:]) != string(h.BodyHash) {
		return nil, nil, Refuse(ErrBadSignature, "a logged request has another body than was signed")
	}
	return &Request{
		Header:  h,
		Hash:    requestHash(message.Header),
		Key:     key,
		Time:    time.UnixMilli(int64(h.Time)).UTC(),
		message: message,
	}, message.Body, nil
}
