package server

import (
	"crypto/sha256"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// classOfProcedure is the class of requests before they are read, and of small ones
// after that too, but for Append.
func classOfProcedure(procedure string) class {
	switch procedure {
	case apiv1connect.ServerServiceStartRecoveryProcedure, apiv1connect.ServerServiceRecoveryStatusProcedure,
		apiv1connect.ServerServiceRecoveriesProcedure, apiv1connect.ServerServiceApproveProcedure,
		apiv1connect.ServerServiceReleaseProcedure:
		return classUrgent
	case apiv1connect.ServerServiceRevealProcedure, apiv1connect.ServerServiceProposeProcedure,
		apiv1connect.ServerServiceSetAlarmsProcedure, apiv1connect.ServerServiceCreateAccountProcedure:
		return classReveal
	}
	return classDaily
}

// classOf is the class of a request that is read, by its own words: nothing of it is
// checked yet.
func classOf(procedure string, message *apiv1.SignedRequest) class {
	c := classOfProcedure(procedure)
	if procedure == apiv1connect.ServerServiceAppendProcedure && appendsUrgent(message.GetBody()) {
		return classUrgent
	}
	most := smallRequest
	if procedure == apiv1connect.ServerServiceSealedSharesProcedure {
		most = fewShares
	}
	if c != classUrgent && len(message.GetBody()) > most {
		return classBulk
	}
	return c
}

// fewShares is a request for less than a hundred shares, in bytes: each is sealed to
// a key, which takes as long as many a request that is much larger.
const fewShares = 2 << 10

// urgentRecords are the fields of Record that stop a thief or end a recovery.
var urgentRecords = func() map[protowire.Number]bool {
	numbers := map[protowire.Number]bool{}
	fields := (&recordv1.Record{}).ProtoReflect().Descriptor().Fields()
	for _, name := range []protoreflect.Name{"device_locked", "recovery_vetoed", "recovered"} {
		numbers[fields.ByName(name).Number()] = true
	}
	return numbers
}()

// appendsUrgent says whether an AppendRequest has an entry with such a record. It
// looks at tags alone: an Append may have 48 MiB, and is read in earnest only when it
// is admitted.
func appendsUrgent(body []byte) bool {
	const entries, entry, records = 1, 1, 6 // of AppendRequest, SignedEntry, Entry
	return eachField(body, entries, func(b []byte) bool {
		return eachField(b, entry, func(b []byte) bool {
			return eachField(b, records, func(b []byte) bool {
				for len(b) > 0 {
					number, kind, n := protowire.ConsumeTag(b)
					if n < 0 {
						return false
					}
					if urgentRecords[number] {
						return true
					}
					m := protowire.ConsumeFieldValue(number, kind, b[n:])
					if m < 0 {
						return false
					}
					b = b[n+m:]
				}
				return false
			})
		})
	})
}

// eachField says whether any of the values of a bytes field is so.
func eachField(b []byte, field protowire.Number, is func([]byte) bool) bool {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		m := protowire.ConsumeFieldValue(number, kind, b[n:])
		if m < 0 {
			return false
		}
		if number == field && kind == protowire.BytesType {
			if value, _ := protowire.ConsumeBytes(b[n:]); is(value) {
				return true
			}
		}
		b = b[n+m:]
	}
	return false
}

// askerOf returns who seems to ask, from where. Behind a proxy on this machine that
// is one account or key beside others.
func askerOf(message *apiv1.SignedRequest, address string) asker {
	var who asker
	if remote, local := remoteOf(address); !local {
		who.remote = remote
	}
	const account, signKey = 3, 5 // of RequestHeader
	named := eachField(message.GetHeader(), account, func(b []byte) bool {
		if len(b) != len(who.account) {
			return false
		}
		who.account = [32]byte(b)
		return true
	})
	if !named {
		eachField(message.GetHeader(), signKey, func(b []byte) bool {
			who.account = sha256.Sum256(b)
			return true
		})
	}
	return who
}
