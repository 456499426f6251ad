package api

import (
	"encoding/json"
	"slices"
	"strings"

	"sekisho/internal/wire/awsproto"
)

// hiddenValue replaces the value of a member that the audit trail does not show.
const hiddenValue = "HIDDEN_DUE_TO_SECURITY_REASONS"

// auditedParams returns the request as the audit trail records it: the members that the operation
// knows and [auditedMembers] allows. Other members that the operation knows appear as hidden;
// unknown members are omitted.
func (c *Call) auditedParams() any {
	op := c.door.Operations[c.Operation]
	m := map[string]any{}
	if c.door.Protocol == awsproto.JSON {
		if len(c.body) > 0 && json.Unmarshal(c.body, &m) != nil {
			return nil
		}
	} else {
		for k, v := range c.form {
			if len(v) > 0 {
				m[k] = v[0]
			}
		}
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		member, _, _ := strings.Cut(strings.ToLower(k), ".")
		if !slices.Contains(op.Members(), member) {
			continue
		}
		if !op.Audits(member) {
			v = hiddenValue
		}
		out[lowerFirst(k)] = v
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func lowerFirst(s string) string {
	if s == "" || s[0] < 'A' || s[0] > 'Z' {
		return s
	}
	return string(s[0]+'a'-'A') + s[1:]
}

// Members returns the names of the request's members in lower case.
func (op Operation) Members() []string { return op.members }

// Audits reports whether the audit trail shows a member, named in lower case.
func (op Operation) Audits(member string) bool { return member != op.hidden && auditedMembers[member] }

// auditedMembers are the members of requests that the audit trail shows, in
// lower case. An operation can hide one of them with [Hide].
var auditedMembers = nameSet(`
	accesskeyid accessrequestid accountalias accountidentifiers accountidstoadd accountidstoremove action
	actionnames activationid after agent agentname agentstatus agentversion aggregator aggregators
	alarmconfiguration aliasname allavailabilityzones allowuserstochangepassword allregions approvals
	approvers architecture assignmentstatus associationid assumerolepolicydocument at attachments
	attributename before breakglass bundleid bypasspolicylockoutsafetycheck callerarn clientid clientidlist
	cloudwatchoutputconfig commandid comment compliancetype computername constraints contextentries
	customermasterkeyspec customkeystoreid datasources days defaultinstancename descending description
	destination destinationencryptionalgorithm destinationencryptioncontext destinationkeyid details
	detailtype displayname documentfilterlist documentformat documenthash documenthashtype documentname
	documents documenttype documentversion dryrun durationseconds during encryptionalgorithm encryptioncontext
	endtime entityfilter entries eventcategory except expirationdate externalid fieldindexnames filter
	filterpattern filters filterswithoperator fingerprint firstday force forprograms from granteeprincipal
	grantid groupname hardexpiry host iaminstanceprofile iamrole includeallinstances includelinkedaccounts
	insecure instanceid instanceids instanceinformationfilterlist instanceprofilename
	instancepropertyfilterlist ipaddress keyid keyspec keyusage kmskeyid lastday limit linkid loggroupclass
	loggroupidentifier loggroupname loggroupnamepattern loggroupnameprefix logstreamname logstreamnameprefix
	logstreamnames lookupattributes marker maxbytes maxconcurrency maxerrors maxitems maxpasswordage
	maxresults maxsessionduration messageid messagesrequestid mfa mfawithinseconds mine minimumpasswordlength
	multiregion name names newgroupname newpath newpublickey newpublickeytype newusername nexttoken nodeidtype
	notafter notbefore notificationconfig numberofbytes onlyattached open openidconnectproviderarn operations
	orderby origin outputs3bucketname outputs3keyprefix outputs3region owner packagename packagesha256
	packageversion parameters passwordresetrequired passwordreuseprevention path pathprefix
	pendingwindowindays permissionsboundary permissionsboundarypolicyinputlist permissiontype platformname
	platformtype platformversion pluginname policy policyarn policyarns policydocument policyinputlist
	policyname policysourcearn policytype policyusagefilter position principalarn providerid publickey
	publickeytype questions reason regionname registrationlimit registrationmetadata replyid reportdefinition
	reportname requesters requirelowercasecharacters requirenumbers requires requiresymbols
	requireuppercasecharacters resourcearn resourcearns resourceid resourceidentifier resourceowner
	resourcepolicy resourcetype resultattributes retentionindays retiringprincipal rolearn rolename
	rolesessionname rotationperiodindays scope serialnumber servicerolearn sessionid setasdefault settingid
	settingvalue shareddocumentversion sourceencryptionalgorithm sourceencryptioncontext sourceidentity
	sourceip sourceips sourcekeyid startfromhead startoffset starttime state statement status subject subtype
	syncname tag tagkeys tags target targetkeyid targets targettype text thumbprintlist timeoutseconds to
	transitivetagkeys typename url username versionid versionname virtualmfadevicename waitmilliseconds
	weekdays xkskeyid zone zoneid zonename
`)

func nameSet(list string) map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(list) {
		set[name] = true
	}
	return set
}
