package client

import (
	"context"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
)

// CreateAccount sends Genesis.
func (c *Client) CreateAccount(ctx context.Context, who api.Identity, r *apiv1.CreateAccountRequest) (*apiv1.CreateAccountAnswer, [32]byte, error) {
	return call[apiv1.CreateAccountAnswer](ctx, c, apiv1connect.ServerServiceClient.CreateAccount, apiv1connect.ServerServiceCreateAccountProcedure, who, r, nil)
}

// SeedHalf asks for the server's half of a seed.
func (c *Client) SeedHalf(ctx context.Context, who api.Identity, r *apiv1.SeedHalfRequest) (*apiv1.SeedHalfAnswer, error) {
	a, _, err := call[apiv1.SeedHalfAnswer](ctx, c, apiv1connect.ServerServiceClient.SeedHalf, apiv1connect.ServerServiceSeedHalfProcedure, who, r, nil)
	return a, err
}

// Append adds entries and server shares. The hash is the request's.
func (c *Client) Append(ctx context.Context, who api.Identity, r *apiv1.AppendRequest) (*apiv1.AppendAnswer, [32]byte, error) {
	return call[apiv1.AppendAnswer](ctx, c, apiv1connect.ServerServiceClient.Append, apiv1connect.ServerServiceAppendProcedure, who, r, nil)
}

// PaperHalf asks for the server's half of a share that is bound to paper.
func (c *Client) PaperHalf(ctx context.Context, who api.Identity, r *apiv1.PaperHalfRequest) (*apiv1.PaperHalfAnswer, error) {
	a, _, err := call[apiv1.PaperHalfAnswer](ctx, c, apiv1connect.ServerServiceClient.PaperHalf, apiv1connect.ServerServicePaperHalfProcedure, who, r, nil)
	return a, err
}

// Entries asks for a page of the ledger.
func (c *Client) Entries(ctx context.Context, who api.Identity, r *apiv1.EntriesRequest) (*apiv1.EntriesAnswer, error) {
	a, _, err := call[apiv1.EntriesAnswer](ctx, c, apiv1connect.ServerServiceClient.Entries, apiv1connect.ServerServiceEntriesProcedure, who, r, nil)
	return a, err
}

// SealedShares asks for server shares, sealed to the server.
func (c *Client) SealedShares(ctx context.Context, who api.Identity, shares []*recordv1.SealedServerShare) (*apiv1.SealedSharesAnswer, error) {
	r := &apiv1.SealedSharesRequest{Shares: shares}
	a, _, err := call[apiv1.SealedSharesAnswer](ctx, c, apiv1connect.ServerServiceClient.SealedShares, apiv1connect.ServerServiceSealedSharesProcedure, who, r, nil)
	return a, err
}

// Attest leaves an attestation and asks for those of others.
func (c *Client) Attest(ctx context.Context, who api.Identity, r *apiv1.AttestRequest) (*apiv1.AttestAnswer, error) {
	a, _, err := call[apiv1.AttestAnswer](ctx, c, apiv1connect.ServerServiceClient.Attest, apiv1connect.ServerServiceAttestProcedure, who, r, nil)
	return a, err
}

// Reveal asks for server shares, with the second factor that confirm adds. The
// hash is the request's, to which the answer is sealed.
func (c *Client) Reveal(ctx context.Context, who api.Identity, r *apiv1.RevealRequest, confirm func(*apiv1.SignedRequest)) (*apiv1.RevealAnswer, [32]byte, error) {
	return call[apiv1.RevealAnswer](ctx, c, apiv1connect.ServerServiceClient.Reveal, apiv1connect.ServerServiceRevealProcedure, who, r, confirm)
}

// ActivityLog asks for a page of the activity log.
func (c *Client) ActivityLog(ctx context.Context, who api.Identity, r *apiv1.ActivityLogRequest) (*apiv1.ActivityLogAnswer, error) {
	a, _, err := call[apiv1.ActivityLogAnswer](ctx, c, apiv1connect.ServerServiceClient.ActivityLog, apiv1connect.ServerServiceActivityLogProcedure, who, r, nil)
	return a, err
}

// Pending asks for what waits for the second factor in the account.
func (c *Client) Pending(ctx context.Context, who api.Identity) ([]*apiv1.Waiting, error) {
	a, _, err := call[apiv1.PendingAnswer](ctx, c, apiv1connect.ServerServiceClient.Pending, apiv1connect.ServerServicePendingProcedure, who, &apiv1.PendingRequest{}, nil)
	return a.GetWaiting(), err
}

// Confirm gives the server the device's answer to a request that waits.
func (c *Client) Confirm(ctx context.Context, who api.Identity, r *apiv1.ConfirmRequest) error {
	_, _, err := call[apiv1.ConfirmAnswer](ctx, c, apiv1connect.ServerServiceClient.Confirm, apiv1connect.ServerServiceConfirmProcedure, who, r, nil)
	return err
}

// Join asks which account has a name, or to be added to it.
func (c *Client) Join(ctx context.Context, who api.Identity, r *apiv1.JoinRequest) (*apiv1.JoinAnswer, error) {
	a, _, err := call[apiv1.JoinAnswer](ctx, c, apiv1connect.ServerServiceClient.Join, apiv1connect.ServerServiceJoinProcedure, who, r, nil)
	return a, err
}

// Joins asks for the devices that want to be added to the account.
func (c *Client) Joins(ctx context.Context, who api.Identity) ([]*apiv1.Joining, error) {
	a, _, err := call[apiv1.JoinsAnswer](ctx, c, apiv1connect.ServerServiceClient.Joins, apiv1connect.ServerServiceJoinsProcedure, who, &apiv1.JoinsRequest{}, nil)
	return a.GetJoining(), err
}

// Alarms asks where alarms go, or for a test of them.
func (c *Client) Alarms(ctx context.Context, who api.Identity, r *apiv1.AlarmsRequest) (*apiv1.AlarmsAnswer, error) {
	a, _, err := call[apiv1.AlarmsAnswer](ctx, c, apiv1connect.ServerServiceClient.Alarms, apiv1connect.ServerServiceAlarmsProcedure, who, r, nil)
	return a, err
}

// SendMessage gives the server a message for another account.
func (c *Client) SendMessage(ctx context.Context, who api.Identity, m *apiv1.Message) error {
	_, _, err := call[apiv1.SendMessageAnswer](ctx, c, apiv1connect.ServerServiceClient.SendMessage, apiv1connect.ServerServiceSendMessageProcedure, who, &apiv1.SendMessageRequest{Message: m}, nil)
	return err
}

// Inbox asks for a page of messages from others.
func (c *Client) Inbox(ctx context.Context, who api.Identity, r *apiv1.InboxRequest) (*apiv1.InboxAnswer, error) {
	a, _, err := call[apiv1.InboxAnswer](ctx, c, apiv1connect.ServerServiceClient.Inbox, apiv1connect.ServerServiceInboxProcedure, who, r, nil)
	return a, err
}

// Acknowledge takes messages out of the device's inbox.
func (c *Client) Acknowledge(ctx context.Context, who api.Identity, ids []uint64) error {
	_, _, err := call[apiv1.AcknowledgeAnswer](ctx, c, apiv1connect.ServerServiceClient.Acknowledge, apiv1connect.ServerServiceAcknowledgeProcedure, who, &apiv1.AcknowledgeRequest{Ids: ids}, nil)
	return err
}

// StartRecovery asks which account has a name, or starts a recovery.
func (c *Client) StartRecovery(ctx context.Context, who api.Identity, r *apiv1.StartRecoveryRequest) (*apiv1.StartRecoveryAnswer, error) {
	a, _, err := call[apiv1.StartRecoveryAnswer](ctx, c, apiv1connect.ServerServiceClient.StartRecovery, apiv1connect.ServerServiceStartRecoveryProcedure, who, r, nil)
	return a, err
}

// RecoveryStatus asks how far a recovery has come.
func (c *Client) RecoveryStatus(ctx context.Context, who api.Identity, r *apiv1.RecoveryStatusRequest) (*apiv1.Recovery, error) {
	a, _, err := call[apiv1.RecoveryStatusAnswer](ctx, c, apiv1connect.ServerServiceClient.RecoveryStatus, apiv1connect.ServerServiceRecoveryStatusProcedure, who, r, nil)
	return a.GetRecovery(), err
}

// Recoveries asks for the recoveries that concern the account: its own, and
// those of accounts whose contact it is.
func (c *Client) Recoveries(ctx context.Context, who api.Identity) ([]*apiv1.Recovery, error) {
	a, _, err := call[apiv1.RecoveriesAnswer](ctx, c, apiv1connect.ServerServiceClient.Recoveries, apiv1connect.ServerServiceRecoveriesProcedure, who, &apiv1.RecoveriesRequest{}, nil)
	return a.GetRecoveries(), err
}

// Approve gives the server an approval and the share that goes with it.
func (c *Client) Approve(ctx context.Context, who api.Identity, r *apiv1.ApproveRequest) (*apiv1.Recovery, error) {
	a, _, err := call[apiv1.ApproveAnswer](ctx, c, apiv1connect.ServerServiceClient.Approve, apiv1connect.ServerServiceApproveProcedure, who, r, nil)
	return a.GetRecovery(), err
}

// Release asks for a page of what a recovery gives back.
func (c *Client) Release(ctx context.Context, who api.Identity, r *apiv1.ReleaseRequest) (*apiv1.ReleaseAnswer, error) {
	a, _, err := call[apiv1.ReleaseAnswer](ctx, c, apiv1connect.ServerServiceClient.Release, apiv1connect.ServerServiceReleaseProcedure, who, r, nil)
	return a, err
}
