package ledger

import (
	"errors"
	"fmt"
)

// ErrNewer is returned for an entry with a record of a kind, version or suite
// that this program does not know. The fold stops there: nothing that follows
// can be judged.
var ErrNewer = errors.New("needs a newer program")

// RuleError says which rule refuses an entry, or a statement beside the ledger.
type RuleError struct {
	Rule   Rule
	Detail string // what breaks it; public, like the ledger
}

func (e *RuleError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("ledger: %s (rule %s)", e.Rule.Text(), string(e.Rule))
	}
	return fmt.Sprintf("ledger: %s: %s (rule %s)", e.Rule.Text(), e.Detail, string(e.Rule))
}

// Is makes errors.Is compare by the rule alone, with a RuleError that has no
// detail.
func (e *RuleError) Is(target error) bool {
	other, ok := target.(*RuleError)
	return ok && other.Rule == e.Rule && (other.Detail == "" || other.Detail == e.Detail)
}

func refuse(rule Rule, format string, args ...any) error {
	return &RuleError{Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

// Rule names one rule of the ledger. Names never change.
type Rule string

// Form of an entry.
const (
	RuleSize     Rule = "size"
	RuleEncoding Rule = "encoding"
	RuleField    Rule = "field"
	RuleShape    Rule = "shape"
)

// Place in the chain, and who signs.
const (
	RuleGenesis        Rule = "genesis"
	RuleSequence       Rule = "sequence"
	RulePrevious       Rule = "previous"
	RuleAccount        Rule = "account"
	RuleTime           Rule = "time"
	RuleAuthor         Rule = "author"
	RuleSignature      Rule = "signature"
	RuleProposalBase   Rule = "proposal-base"
	RuleProposalNonce  Rule = "proposal-nonce"
	RuleProposalExpiry Rule = "proposal-expiry"
	RuleProposalStale  Rule = "proposal-stale"
	RuleEndorsement    Rule = "endorsement"
	RuleSecondFactor   Rule = "second-factor"
	RuleConfirmWait    Rule = "confirm-wait"
	RuleAllDevices     Rule = "all-devices"
	RuleNewDevice      Rule = "new-device"
)

// Devices and keys.
const (
	RuleDevice     Rule = "device"
	RuleOwnDevice  Rule = "own-device"
	RuleKeyReused  Rule = "key-reused"
	RuleGeneration Rule = "generation"
	RuleSealedTo   Rule = "sealed-to"
	RuleBackup     Rule = "backup"
)

// Epochs and contacts.
const (
	RuleNoEpoch       Rule = "no-epoch"
	RuleEpoch         Rule = "epoch"
	RuleQuorum        Rule = "quorum"
	RuleRootKey       Rule = "root-key"
	RuleDeviceList    Rule = "device-list"
	RuleMember        Rule = "member"
	RuleContact       Rule = "contact"
	RuleReceipt       Rule = "receipt"
	RuleReceipts      Rule = "receipts"
	RuleUnsplit       Rule = "unsplit"
	RuleRevokedSince  Rule = "revoked-since"
	RuleWeakening     Rule = "weakening"
	RuleNotCommitted  Rule = "not-committed"
	RuleCommittedOnce Rule = "committed-once"
)

// Slots.
const (
	RuleSlotAuthor  Rule = "slot-author"
	RuleCounter     Rule = "counter"
	RuleVersion     Rule = "version"
	RuleSplitTwice  Rule = "split-twice"
	RuleBothEpochs  Rule = "both-epochs"
	RuleSlot        Rule = "slot"
	RuleSlotDeleted Rule = "slot-deleted"
	RuleCapacity    Rule = "capacity"
)

// Recovery.
const (
	RuleVetoTwice     Rule = "veto-twice"
	RuleRequest       Rule = "request"
	RuleRecoveredOnce Rule = "recovered-once"
	RuleRootSignature Rule = "root-signature"
	RuleApproval      Rule = "approval"
	RuleApprovals     Rule = "approvals"
	RuleVetoes        Rule = "vetoes"
	RuleWindow        Rule = "window"
	RuleStatement     Rule = "statement"
)

// Statements beside the ledger.
const (
	RuleAttestation Rule = "attestation"
	RuleActivity    Rule = "activity"

	RuleDeviceRequest Rule = "device-request"
)

var ruleTexts = map[Rule]string{
	RuleSize:     "larger than the limit",
	RuleEncoding: "not in the canonical encoding",
	RuleField:    "a field has a wrong value",
	RuleShape:    "a record does not stand where it may",

	RuleGenesis:        "a ledger starts with Genesis and has no other",
	RuleSequence:       "the sequence number is not the next one",
	RulePrevious:       "the previous entry is another one",
	RuleAccount:        "it belongs to another account",
	RuleTime:           "the time is earlier than the previous entry's",
	RuleAuthor:         "the author is no active device",
	RuleSignature:      "the signature is not the author's",
	RuleProposalBase:   "the proposal's base is not in this ledger",
	RuleProposalNonce:  "the proposal was used before",
	RuleProposalExpiry: "the proposal has expired",
	RuleProposalStale:  "what the proposal is about has changed since its base",
	RuleEndorsement:    "an endorsement is not valid",
	RuleSecondFactor:   "the second factor is missing",
	RuleConfirmWait:    "after locking the other devices, the device's own confirmation counts only when the waiting period is over",
	RuleAllDevices:     "not every active device endorses the new device",
	RuleNewDevice:      "the new device does not endorse",

	RuleDevice:     "the device cannot be the subject of this",
	RuleOwnDevice:  "a device cannot do this to itself",
	RuleKeyReused:  "a key has been used before",
	RuleGeneration: "the key generation is not the right one",
	RuleSealedTo:   "not sealed to exactly the right devices",
	RuleBackup:     "not backed up to exactly the right epochs",

	RuleNoEpoch:       "no epoch has been prepared yet",
	RuleEpoch:         "the epoch is not the right one",
	RuleQuorum:        "the quorum is not 2 to 16 of at most 16 members, or 1 of 1",
	RuleRootKey:       "the root key was that of an earlier epoch",
	RuleDeviceList:    "the root key did not sign the list of active devices",
	RuleMember:        "the member does not exist or is bound already",
	RuleContact:       "the contact cannot have this share",
	RuleReceipt:       "the receipt is not valid",
	RuleReceipts:      "the receipts of a quorum and of the server are not complete",
	RuleUnsplit:       "a live slot is not split in the epoch",
	RuleRevokedSince:  "a device was revoked since the epoch was prepared",
	RuleWeakening:     "what weakens the protection commits only after the old waiting period",
	RuleNotCommitted:  "the epoch in use is not committed",
	RuleCommittedOnce: "the epoch is committed already",

	RuleSlotAuthor:  "the slot's device is not the author",
	RuleCounter:     "the counter is not higher than the device's last one",
	RuleVersion:     "the version is not the right one",
	RuleSplitTwice:  "the version is split in this epoch already",
	RuleBothEpochs:  "while an epoch is prepared, a new version is split in both epochs",
	RuleSlot:        "there is no such slot",
	RuleSlotDeleted: "the slot is deleted",
	RuleCapacity:    "the account's live secrets would no longer fit into a recovery",

	RuleVetoTwice:     "the device has vetoed this request before",
	RuleRequest:       "the recovery request is not valid here",
	RuleRecoveredOnce: "the request has recovered the account already",
	RuleRootSignature: "the signature is not the root key's",
	RuleApproval:      "an approval is not valid here",
	RuleApprovals:     "the approvals of a quorum are not complete",
	RuleVetoes:        "an approval does not name all vetoes",
	RuleWindow:        "an approval is not valid at this time",
	RuleStatement:     "the recovery's statement does not fit the account",

	RuleAttestation: "the attestation is not valid",
	RuleActivity:    "the activity log is broken",

	RuleDeviceRequest: "the new device's request is not valid here",
}

// Text returns the rule in words.
func (r Rule) Text() string {
	if text, ok := ruleTexts[r]; ok {
		return text
	}
	return "rule " + string(r)
}
