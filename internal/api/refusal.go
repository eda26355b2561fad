package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Reason is why a server refuses; errors.Is finds it in a [*Refusal].
type Reason apiv1.Reason

// One sentinel for each reason of the API.
const (
	ErrMalformed           = Reason(apiv1.Reason_REASON_MALFORMED)
	ErrBadSignature        = Reason(apiv1.Reason_REASON_BAD_SIGNATURE)
	ErrWrongServer         = Reason(apiv1.Reason_REASON_WRONG_SERVER)
	ErrClock               = Reason(apiv1.Reason_REASON_CLOCK)
	ErrReplayed            = Reason(apiv1.Reason_REASON_REPLAYED)
	ErrUnknownAccount      = Reason(apiv1.Reason_REASON_UNKNOWN_ACCOUNT)
	ErrUnknownDevice       = Reason(apiv1.Reason_REASON_UNKNOWN_DEVICE)
	ErrDeviceLocked        = Reason(apiv1.Reason_REASON_DEVICE_LOCKED)
	ErrDeviceRevoked       = Reason(apiv1.Reason_REASON_DEVICE_REVOKED)
	ErrNameTaken           = Reason(apiv1.Reason_REASON_NAME_TAKEN)
	ErrHeadMoved           = Reason(apiv1.Reason_REASON_HEAD_MOVED)
	ErrEntryRefused        = Reason(apiv1.Reason_REASON_ENTRY_REFUSED)
	ErrShareMissing        = Reason(apiv1.Reason_REASON_SHARE_MISSING)
	ErrShareWrong          = Reason(apiv1.Reason_REASON_SHARE_WRONG)
	ErrConfirmationMissing = Reason(apiv1.Reason_REASON_CONFIRMATION_MISSING)
	ErrConfirmationWrong   = Reason(apiv1.Reason_REASON_CONFIRMATION_WRONG)
	ErrRateLimited         = Reason(apiv1.Reason_REASON_RATE_LIMITED)
	ErrUnknownSlot         = Reason(apiv1.Reason_REASON_UNKNOWN_SLOT)
	ErrUnknownRecovery     = Reason(apiv1.Reason_REASON_UNKNOWN_RECOVERY)
	ErrNotEnoughApprovals  = Reason(apiv1.Reason_REASON_NOT_ENOUGH_APPROVALS)
	ErrPeriodNotOver       = Reason(apiv1.Reason_REASON_PERIOD_NOT_OVER)
	ErrVetoed              = Reason(apiv1.Reason_REASON_VETOED)
	ErrApprovalRefused     = Reason(apiv1.Reason_REASON_APPROVAL_REFUSED)
	ErrNotRecoverable      = Reason(apiv1.Reason_REASON_NOT_RECOVERABLE)
	ErrRecoveryOver        = Reason(apiv1.Reason_REASON_RECOVERY_OVER)
	ErrTooLarge            = Reason(apiv1.Reason_REASON_TOO_LARGE)
	ErrUnavailable         = Reason(apiv1.Reason_REASON_UNAVAILABLE)
	ErrNeedsNewerProgram   = Reason(apiv1.Reason_REASON_NEEDS_NEWER_PROGRAM)
	ErrNotAContact         = Reason(apiv1.Reason_REASON_NOT_A_CONTACT)
	ErrAccountExists       = Reason(apiv1.Reason_REASON_ACCOUNT_EXISTS)
	ErrEntryTime           = Reason(apiv1.Reason_REASON_ENTRY_TIME)
	ErrRecoveryOpen        = Reason(apiv1.Reason_REASON_RECOVERY_OPEN)
	ErrConfirmationPending = Reason(apiv1.Reason_REASON_CONFIRMATION_PENDING)
	ErrConfirmationRefused = Reason(apiv1.Reason_REASON_CONFIRMATION_REFUSED)
	ErrConfirmationExpired = Reason(apiv1.Reason_REASON_CONFIRMATION_EXPIRED)
	ErrUnknownPending      = Reason(apiv1.Reason_REASON_UNKNOWN_PENDING)
	ErrRegistrationClosed  = Reason(apiv1.Reason_REASON_REGISTRATION_CLOSED)
	ErrAccountLocked       = Reason(apiv1.Reason_REASON_ACCOUNT_LOCKED)
	ErrAccountDeleted      = Reason(apiv1.Reason_REASON_ACCOUNT_DELETED)
	ErrMoved               = Reason(apiv1.Reason_REASON_MOVED)
)

// ErrUnreachable: no answer came, signed or not. Whether the server did what it
// was asked is not known.
var ErrUnreachable = errors.New("the server cannot be reached")

type reason struct {
	text string
	code connect.Code
}

var reasons = map[Reason]reason{
	ErrMalformed:           {"the request is malformed", connect.CodeInvalidArgument},
	ErrBadSignature:        {"the request's signature is wrong", connect.CodeUnauthenticated},
	ErrWrongServer:         {"the request is meant for another server", connect.CodeInvalidArgument},
	ErrClock:               {"the clocks of device and server differ by more than two minutes", connect.CodeFailedPrecondition},
	ErrReplayed:            {"the request was taken before", connect.CodeAlreadyExists},
	ErrUnknownAccount:      {"the server knows no such account", connect.CodeNotFound},
	ErrUnknownDevice:       {"the device is not in the account's ledger", connect.CodeUnauthenticated},
	ErrDeviceLocked:        {"the device is locked", connect.CodePermissionDenied},
	ErrDeviceRevoked:       {"the device is revoked", connect.CodePermissionDenied},
	ErrNameTaken:           {"the name is taken", connect.CodeAlreadyExists},
	ErrHeadMoved:           {"the ledger has moved on", connect.CodeAborted},
	ErrEntryRefused:        {"the ledger's rules refuse the entry", connect.CodeFailedPrecondition},
	ErrShareMissing:        {"a server share is missing", connect.CodeInvalidArgument},
	ErrShareWrong:          {"a server share is wrong", connect.CodeInvalidArgument},
	ErrConfirmationMissing: {"the second factor is missing", connect.CodePermissionDenied},
	ErrConfirmationWrong:   {"the second factor is wrong", connect.CodePermissionDenied},
	ErrRateLimited:         {"too many requests", connect.CodeResourceExhausted},
	ErrUnknownSlot:         {"the server has no share of this slot", connect.CodeNotFound},
	ErrUnknownRecovery:     {"the server knows no such recovery", connect.CodeNotFound},
	ErrNotEnoughApprovals:  {"not enough contacts have approved", connect.CodeFailedPrecondition},
	ErrPeriodNotOver:       {"the waiting period is not over", connect.CodeFailedPrecondition},
	ErrVetoed:              {"a device of the account has vetoed", connect.CodeFailedPrecondition},
	ErrApprovalRefused:     {"the approval does not count", connect.CodeFailedPrecondition},
	ErrNotRecoverable:      {"the account is not recoverable", connect.CodeFailedPrecondition},
	ErrRecoveryOver:        {"the recovery is over", connect.CodeFailedPrecondition},
	ErrTooLarge:            {"the request is too large", connect.CodeResourceExhausted},
	ErrUnavailable:         {"the server cannot do this now", connect.CodeUnavailable},
	ErrNeedsNewerProgram:   {"a newer program is needed", connect.CodeUnimplemented},
	ErrNotAContact:         {"the ledger names no such contact", connect.CodePermissionDenied},
	ErrAccountExists:       {"the account exists under another name", connect.CodeAlreadyExists},
	ErrEntryTime:           {"the entry's time is off by more than two minutes", connect.CodeFailedPrecondition},
	ErrRecoveryOpen:        {"this device has asked for a recovery already", connect.CodeAlreadyExists},
	ErrConfirmationPending: {"another device has not confirmed it yet", connect.CodeFailedPrecondition},
	ErrConfirmationRefused: {"another device refused it", connect.CodePermissionDenied},
	ErrConfirmationExpired: {"no other device confirmed it in time", connect.CodeDeadlineExceeded},
	ErrUnknownPending:      {"no such request waits for this device", connect.CodeNotFound},
	ErrRegistrationClosed:  {"the server takes no new account", connect.CodePermissionDenied},
	ErrAccountLocked:       {"the server's operator has locked the account", connect.CodePermissionDenied},
	ErrAccountDeleted:      {"the server's operator has deleted the account", connect.CodePermissionDenied},
	ErrMoved:               {"the server has moved", connect.CodeFailedPrecondition},
}

// Error returns the reason in words.
func (r Reason) Error() string {
	if known, ok := reasons[r]; ok {
		return known.text
	}
	return fmt.Sprintf("the server refuses for reason %d, which this program does not know", int32(r))
}

// Refusal is a server's refusal of one request.
type Refusal struct {
	Reason      Reason
	Message     string        // what happened and what to do next
	Attestation []byte        // with ErrHeadMoved: exact bytes of the server's SignedAttestation of its head
	RetryAfter  time.Duration // with ErrRateLimited and ErrPeriodNotOver; unsigned, and a minute at most, where the server has too much to do
	Approvals   uint64        // with ErrNotEnoughApprovals: how many count
	Quorum      uint64        // with ErrNotEnoughApprovals: how many are needed
	Expires     time.Time     // with ErrConfirmationPending: by the server's clock, to the millisecond
	Devices     []uint64      // with ErrConfirmationPending: who may still answer, 0 being a new device; with ErrConfirmationRefused: who refused
	URL         string        // with ErrMoved: where the server is now; whoever goes there asks it for its keys

	// Signed says that the server signed the refusal of this request. Without it
	// nothing follows for what the request asked for: whoever stands between
	// device and server may have made it.
	Signed bool
}

// Refuse makes a refusal. The message says what happened, and what to do next.
func Refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// unreadable refuses bytes that are not in the canonical encoding.
func unreadable(what string, err error) *Refusal {
	if errors.Is(err, canonical.ErrUnknownField) {
		return Refuse(ErrNeedsNewerProgram, "%s: %v", what, err)
	}
	return Refuse(ErrMalformed, "%s: %v", what, err)
}

// Error returns the reason and the message.
func (r *Refusal) Error() string {
	if r.Message == "" {
		return r.Reason.Error()
	}
	return r.Reason.Error() + ": " + r.Message
}

// Is finds the refusal's reason.
func (r *Refusal) Is(target error) bool {
	reason, ok := target.(Reason)
	return ok && reason == r.Reason
}

// Connect returns the refusal as an error of an answer. It is signed over the
// request, unless that is nil because its own signature was not good. Its
// message goes out as it is, so it must hold nothing secret.
func (r *Refusal) Connect(key *signing.PrivateKey, request *Request, now time.Time) *connect.Error {
	detail := &apiv1.Refusal{Reason: apiv1.Reason(r.Reason), Message: r.Message}
	if request != nil {
		if err := r.sign(detail, key, request, now); err != nil {
			return connect.NewError(connect.CodeInternal, errors.New("the refusal has no encoding"))
		}
	}
	failure := connect.NewError(reasons[r.Reason].code, errors.New(r.Error()))
	if d, err := connect.NewErrorDetail(detail); err == nil {
		failure.AddDetail(d)
	}
	return failure
}

// Details returns what is signed of the refusal, besides its reason.
func (r *Refusal) Details() *apiv1.RefusalDetails {
	details := &apiv1.RefusalDetails{
		Message:     r.Message,
		Attestation: r.Attestation,
		RetryAfter:  uint64((r.RetryAfter + time.Second - 1) / time.Second),
		Approvals:   r.Approvals,
		Quorum:      r.Quorum,
		Devices:     r.Devices,
		Url:         r.URL,
	}
	if !r.Expires.IsZero() {
		details.Expires = uint64(r.Expires.UnixMilli())
	}
	return details
}

func (r *Refusal) sign(detail *apiv1.Refusal, key *signing.PrivateKey, request *Request, now time.Time) (err error) {
	if detail.Details, err = canonical.Marshal(r.Details()); err != nil {
		return err
	}
	detail.Header, detail.Signature, err = signAnswer(key, request.Hash, detail.Reason, detail.Details, now)
	return err
}

// FromConnect turns the error of a call into
//   - a *[Refusal], with Signed set if the server signed it for this request
//   - an error that wraps [ErrDishonest], if what ought to be the server's
//     signature is not
//   - an error that wraps [ErrUnreachable], for everything else
//   - ctx's error, if the caller gave up
func FromConnect(server *signing.PublicKey, request [32]byte, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	var failure *connect.Error
	if !errors.As(err, &failure) {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	for _, d := range failure.Details() {
		value, err := d.Value()
		if err != nil {
			continue
		}
		if detail, ok := value.(*apiv1.Refusal); ok {
			return openRefusal(server, request, detail, failure.Meta())
		}
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func openRefusal(server *signing.PublicKey, request [32]byte, detail *apiv1.Refusal, meta http.Header) error {
	r := &Refusal{Reason: Reason(detail.Reason), Message: detail.Message}
	if len(detail.Header) == 0 {
		if seconds, err := strconv.ParseUint(meta.Get("Retry-After"), 10, 16); err == nil {
			r.RetryAfter = min(time.Duration(seconds)*time.Second, maxUnsignedRetry)
		}
		return r
	}
	if err := verifyAnswer(server, request, detail.Reason, detail.Header, detail.Signature, detail.Details); err != nil {
		return err
	}
	details := &apiv1.RefusalDetails{}
	if detail.Reason == 0 || proto.Unmarshal(detail.Details, details) != nil {
		return fmt.Errorf("%w: its details cannot be read", ErrDishonest)
	}
	r.Message = details.Message
	r.Attestation = details.Attestation
	r.RetryAfter = time.Duration(min(details.RetryAfter, maxRetry)) * time.Second
	r.Approvals = details.Approvals
	r.Quorum = details.Quorum
	r.Devices = details.Devices
	r.URL = details.Url
	if details.Expires > 0 {
		r.Expires = time.UnixMilli(int64(min(details.Expires, maxTime))).UTC()
	}
	r.Signed = true
	return r
}

// maxUnsignedRetry is how long anybody on the way can make a device wait.
const maxUnsignedRetry = time.Minute

// maxRetry keeps a wait in seconds within a time.Duration; no waiting period is
// longer than a year.
const maxRetry = 366 * 24 * 60 * 60

// RefuseRule turns an error of package ledger into a refusal for this reason, or
// [ErrNeedsNewerProgram].
func RefuseRule(reason Reason, err error) *Refusal {
	if errors.Is(err, ledger.ErrNewer) {
		return Refuse(ErrNeedsNewerProgram, "%v", err)
	}
	return Refuse(reason, "%v", err)
}
