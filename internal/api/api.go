// Package api is both ends of the wire between a device and a server: signed
// requests, signed answers, signed refusals, and the limits that both keep.
//
// A device makes a request with [NewRequest], adds second factors with
// [Confirm], and reads what comes back with [OpenAnswer] or, for an error, with
// [FromConnect]. A server reads the request with [ParseRequest] and
// [Request.Decode], and answers with [Answer] or [Refusal.Connect].
//
// Whatever the server says about a request is signed over that request's hash,
// a refusal too, so a device can tell its server's word from that of whoever
// stands between them. An error without such a signature says nothing but that
// nothing is known.
package api

import (
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
)

// Sizes in bytes.
const (
	// MaxBody is the greatest body of any request or answer.
	MaxBody = 48 << 20
	// MaxMessage is the greatest HTTP body: a request's body, its header, and
	// room for signatures and confirmations.
	MaxMessage = MaxBody + 1<<20
	// PageSize is how full a page of entries, activities, messages or released
	// shares gets before it ends; it ends after the element that fills it.
	PageSize = 4 << 20
	// NonceSize is the size of every nonce.
	NonceSize = 16
	// TokenSize is the size of a token that registers an account.
	TokenSize = 16
	// MaxSealedShares is how many shares one SealedShares names.
	MaxSealedShares = 1024
	// MaxName is the greatest size of an account's name.
	MaxName = 64

	smallBody = 64 << 10
)

const (
	// MaxClockSkew is how far a request's time, and that of a new entry, may be
	// from the server's.
	MaxClockSkew = 2 * time.Minute
	// PendingLife is how long a request waits for other devices, from when it came
	// first.
	PendingLife = 5 * time.Minute
	// ProposalLife is how long a proposal may have until it expires: long enough
	// to be endorsed and then appended.
	ProposalLife = 10 * time.Minute
	// JoinLife is how long a device that asks to be added is remembered.
	JoinLife = time.Hour
	// MaxConfirmations is how many second factors may come with a request.
	MaxConfirmations = 16
	// MaxReveals is how many slots one bulk reveal may ask for.
	MaxReveals = 1 << 16
)

// Purposes of a reveal. All but [PurposeGet] are bulk reveals.
const (
	PurposeGet      = "get"
	PurposeExport   = "export"
	PurposeRotation = "rotation"
)

// BodyLimit returns the greatest size in bytes of a request's body, by
// procedure.
func BodyLimit(procedure string) int {
	switch procedure {
	case apiv1connect.ServerServiceAppendProcedure, apiv1connect.ServerServiceProposeProcedure:
		return MaxBody // what is proposed is appended later
	case apiv1connect.ServerServiceCreateAccountProcedure:
		return 1 << 20
	case apiv1connect.ServerServiceRevealProcedure:
		return 4 << 20
	case apiv1connect.ServerServiceSendMessageProcedure:
		return 256 << 10
	default:
		return smallBody
	}
}

// MessageLimit returns the greatest size in bytes of a relayed message's body,
// by kind; 0 for a kind that no device may send.
func MessageLimit(kind apiv1.Message_Kind) int {
	switch kind {
	case apiv1.Message_KIND_INVITATION_ANSWER:
		return 16 << 10
	case apiv1.Message_KIND_SHARE_ENVELOPE:
		return 128 << 10
	case apiv1.Message_KIND_OWNER_HEAD:
		return 64 << 10 // most is what leads to the device
	case apiv1.Message_KIND_SHARE_RECEIPT, apiv1.Message_KIND_CONTACT_ATTESTATION:
		return 4 << 10
	default:
		return 0
	}
}

// Parties says whether a relayed message of this kind passes only between an
// owner and a contact that the owner's ledger names, and which of both sends it.
func Parties(kind apiv1.Message_Kind) (bound, fromOwner bool) {
	switch kind {
	case apiv1.Message_KIND_SHARE_ENVELOPE, apiv1.Message_KIND_OWNER_HEAD:
		return true, true
	case apiv1.Message_KIND_SHARE_RECEIPT, apiv1.Message_KIND_CONTACT_ATTESTATION:
		return true, false
	default:
		return false, false
	}
}

// AppendNonce returns the nonce under which the server attests the head in its
// answers to CreateAccount and Append, and in a refusal because of a moved head:
// the first 16 bytes of the request's hash.
func AppendNonce(request [32]byte) []byte { return request[:NonceSize] }

// LoggedRequest returns the exact bytes that the activity log keeps of a
// request. They have the body only where it is the request's own words: not
// that of CreateAccount, Append and Propose, whose records are in the ledger or
// never came to be and whose server shares the server promised to destroy one
// day, not those of Approve and SendMessage, which are for others, and not that
// of SetAlarms, which has a secret. The header's hash still fixes it.
func LoggedRequest(r *Request) ([]byte, error) { return r.logged() }

// DevicePart is how much of an account's limit one of several active devices may
// use: three quarters.
func DevicePart(most uint64) uint64 { return max(1, most-most/4) }
