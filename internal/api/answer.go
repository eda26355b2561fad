package api

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// ErrDishonest: what came back is not what this server signed for this request.
// Server and device are of different minds, or somebody stands between them.
var ErrDishonest = errors.New("the answer is not the server's to this request")

// Answer signs the body as the answer to a request. Its errors are canonical's.
func Answer(key *signing.PrivateKey, r *Request, body []byte, now time.Time) (*apiv1.SignedAnswer, error) {
	header, signature, err := signAnswer(key, r.Hash, 0, body, now)
	if err != nil {
		return nil, err
	}
	return &apiv1.SignedAnswer{Header: header, Signature: signature, Body: body}, nil
}

func signAnswer(key *signing.PrivateKey, request [32]byte, reason apiv1.Reason, body []byte, now time.Time) (header, signature []byte, err error) {
	sum := sha256.Sum256(body)
	header, err = canonical.Marshal(&apiv1.AnswerHeader{
		RequestHash: request[:],
		Time:        uint64(now.UnixMilli()),
		BodyHash:    sum[:],
		Reason:      reason,
	})
	if err != nil {
		return nil, nil, err
	}
	return header, key.Sign(answerContext(header)), nil
}

func answerContext(header []byte) *signing.Context {
	return signing.NewContext("api-answer").Bytes(header)
}

// OpenAnswer reads the answer to the request with this hash into body. It returns
// an error that wraps [ErrDishonest] if the server did not sign it for that
// request.
func OpenAnswer(server *signing.PublicKey, request [32]byte, a *apiv1.SignedAnswer, body proto.Message) error {
	if err := verifyAnswer(server, request, 0, a.GetHeader(), a.GetSignature(), a.GetBody()); err != nil {
		return err
	}
	// Not canonical.Unmarshal: a newer server may say more, in answers.
	if err := proto.Unmarshal(a.Body, body); err != nil {
		return fmt.Errorf("%w: its body cannot be read", ErrDishonest)
	}
	return nil
}

func verifyAnswer(server *signing.PublicKey, request [32]byte, reason apiv1.Reason, header, signature, body []byte) error {
	h := &apiv1.AnswerHeader{}
	sum := sha256.Sum256(body)
	switch {
	case !server.Verify(answerContext(header), signature):
		return fmt.Errorf("%w: it is not signed with the server's key", ErrDishonest)
	case proto.Unmarshal(header, h) != nil:
		return fmt.Errorf("%w: its header cannot be read", ErrDishonest)
	case string(h.RequestHash) != string(request[:]):
		return fmt.Errorf("%w: it belongs to another request", ErrDishonest)
	case string(h.BodyHash) != string(sum[:]):
		return fmt.Errorf("%w: its body is not the one that was signed", ErrDishonest)
	case h.Reason != reason:
		return fmt.Errorf("%w: its reason is not the one that was signed", ErrDishonest)
	}
	return nil
}

// SignIdentity fills and signs the server's answer to Identify. movedTo is where the
// server is now, empty if it is here.
func SignIdentity(key *signing.PrivateKey, seal *hpke.PublicKey, nonce []byte, movedTo string, now time.Time) *apiv1.IdentifyAnswer {
	a := &apiv1.IdentifyAnswer{
		SignKey: key.PublicKey().Bytes(),
		SealKey: seal.Bytes(),
		Time:    uint64(now.UnixMilli()),
		MovedTo: movedTo,
	}
	a.Signature = key.Sign(identifyContext(nonce, a))
	return a
}

// VerifyIdentity returns the keys in an answer to Identify, if it was signed for
// this nonce, or an error that wraps [ErrDishonest].
func VerifyIdentity(nonce []byte, a *apiv1.IdentifyAnswer) (*signing.PublicKey, *hpke.PublicKey, error) {
	sign, err := signing.NewPublicKey(a.GetSignKey())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: it names no sign key", ErrDishonest)
	}
	seal, err := hpke.NewPublicKey(a.SealKey)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: it names no seal key", ErrDishonest)
	}
	if !sign.Verify(identifyContext(nonce, a), a.Signature) {
		return nil, nil, fmt.Errorf("%w: it is not signed with the key that it names", ErrDishonest)
	}
	return sign, seal, nil
}

func identifyContext(nonce []byte, a *apiv1.IdentifyAnswer) *signing.Context {
	c := signing.NewContext("identify").Bytes(nonce).Bytes(a.SignKey).Bytes(a.SealKey).Uint(a.Time)
	if a.MovedTo != "" {
		c = c.Text(a.MovedTo)
	}
	return c
}

// SealReveal seals revealed shares to the device that asked with this request.
// Its errors are rand's and canonical's.
func SealReveal(rand io.Reader, p RevealPlace, to *hpke.PublicKey, shares *apiv1.RevealedShares) ([]byte, error) {
	return seal(rand, p.context(), to, shares)
}

// OpenReveal opens what [SealReveal] sealed. The caller erases the shares.
func OpenReveal(key hpke.Opener, p RevealPlace, sealed []byte) (*apiv1.RevealedShares, error) {
	shares := &apiv1.RevealedShares{}
	if err := open(key, p.context(), sealed, shares); err != nil {
		return nil, err
	}
	return shares, nil
}

// SealRelease seals one page of what a recovery gives back to the new device.
// Its errors are rand's and canonical's.
func SealRelease(rand io.Reader, p ReleasePlace, to *hpke.PublicKey, shares *apiv1.ReleasedShares) ([]byte, error) {
	return seal(rand, p.context(to), to, shares)
}

// OpenRelease opens what [SealRelease] sealed. The caller erases the shares.
func OpenRelease(key hpke.Opener, p ReleasePlace, sealed []byte) (*apiv1.ReleasedShares, error) {
	shares := &apiv1.ReleasedShares{}
	if err := open(key, p.context(key.PublicKey()), sealed, shares); err != nil {
		return nil, err
	}
	return shares, nil
}

func seal(rand io.Reader, c *signing.Context, to *hpke.PublicKey, shares proto.Message) ([]byte, error) {
	plaintext, err := canonical.Marshal(shares)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	return hpke.Seal(rand, to, c.Encode(), nil, plaintext)
}

func open(key hpke.Opener, c *signing.Context, sealed []byte, shares proto.Message) error {
	plaintext, err := key.Open(c.Encode(), nil, sealed)
	if errors.Is(err, hpke.ErrOpen) {
		return fmt.Errorf("%w: what it seals does not open", ErrDishonest)
	}
	if err != nil {
		return err // of a key in another process, which says nothing of the server
	}
	defer clear(plaintext)
	if err := proto.Unmarshal(plaintext, shares); err != nil {
		return fmt.Errorf("%w: what it seals cannot be read", ErrDishonest)
	}
	return nil
}
