import subprocess, json, time, urllib.request, os, signal, re, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
BIN=sys.argv[1]
os.makedirs('data',exist_ok=True)
BASE='''[cluster]
workers = 2
snapshot = "1h"
segment = "64KiB"
reserve = "0"

[[source]]
name = "collector"
kind = "http"

[events]
user = ["user"]
time = ["time"]
type = ["kind"]
id = ["id"]
dedupe = "7d"

[fields]
price = ["price"]
page = ["page"]

[sessions]
gap = "2s"
sum = { revenue = "price" }
carry = ["page"]

[[sink]]
name = "file"
kind = "file"
path = "changes.jsonl"
collection = "sessions"
changes = "all"
from = "start"

[[sink]]
name = "receiver"
kind = "http"
url = "http://127.0.0.1:9/"
allow_private = true
batch = 7
collection = "sessions"
changes = "all"
from = "start"

[[class]]
name = "NAME"
when = { price = { min = 1 } }
'''
# A receiver that takes as many changes as there is room for.
room,keys,failed=10**9,[],0
class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        global room,failed
        changes=json.loads(self.rfile.read(int(self.headers['content-length'])))['changes']
        if len(changes)<=room:
            room-=len(changes); keys.extend(c['key'] for c in changes); self.send_response(204)
        else:
            failed+=1; self.send_response(500)
        self.send_header('content-length','0'); self.end_headers()
    def log_message(self,*_): pass
receiver=HTTPServer(('127.0.0.1',0),Receiver)
threading.Thread(target=receiver.serve_forever,daemon=True).start()
def until(what):
    while not what(): time.sleep(.01)
def handed_over(): return len(open('changes.jsonl').readlines()) if os.path.exists('changes.jsonl') else 0
# A class that is renamed relabels so much that it is published in blocks. The bytes of a piece are as always.
os.environ['HEADWATER_TEST_BOUNDS']='{"memory":1500,"block":400}'
def start(name):
    text=BASE.replace('NAME',name)
    open('run.toml','w').write(text.replace('127.0.0.1:9',f'127.0.0.1:{receiver.server_port}'))
    p=subprocess.Popen([BIN,'run','run.toml','--listen','127.0.0.1:0','--data-dir','data','--no-restart','--log-json'],stderr=subprocess.PIPE,text=True)
    for line in p.stderr:
        m=re.search(r'"address":"([^"]+)"',line)
        if m: url='http://'+m.group(1); break
    else: raise SystemExit('no start')
    threading.Thread(target=lambda:[None for _ in p.stderr],daemon=True).start()
    while True:
        try:
            if urllib.request.urlopen(url+'/readyz').status==200: return p,url
        except Exception: time.sleep(.05)
def get(url,path): return urllib.request.urlopen(url+path).read().decode()
def post(url,events):
    body='\n'.join(e if isinstance(e,str) else json.dumps(e) for e in events)
    r=urllib.request.Request(url+'/v1/events',data=body.encode(),headers={'content-type':'application/x-ndjson'})
    t=json.loads(urllib.request.urlopen(r).read())['token']
    get(url,'/v1/collections/sessions/rows?limit=1&wait_for='+t); return t
def stop(p): p.send_signal(signal.SIGTERM); assert p.wait()==0
T=1700000000000
def ev(n,u,t,**k): return dict(user=f'user {u}',time=T+t,kind='view' if n%3 else 'click',id=f'id {n}',**k)
n=0
p,url=start('purchase')
for r in range(6):
    es=[]
    for u in range(8):
        n+=1; es.append(ev(n,u,r*1500*(1+u%3),**({'price':n%4} if n%2 else {}),**({'page':f'p{n%5}'} if n%3 else {})))
    es.append({'user':'nobody','kind':'no time'}); es.append('{broken')
    es.append(ev(1,0,0)) # repeat
    post(url,es)
until(lambda: handed_over()>0 and len(keys)==handed_over())
stop(p)
assert len(keys)==handed_over()
# In the middle of what is relabelled the receiver takes no more.
room=10
p,url=start('buyer')
until(lambda: failed>0)
post(url,[ev(900,1,1400),ev(901,3,2600,price=2),ev(902,2,-5000)])   # late, joins sessions: lineage
tok=None
for line in get(url,'/v1/collections/sessions/changes?until=caught_up').splitlines():
    f=json.loads(line)
    if f['type']=='progress': tok,upper=f['token'],f['upper']
ingest=post(url,[ev(903,9,90000,price=1)])
stop(p)
p,url=start('buyer')
post(url,[ev(904,9,95000,price=3),ev(905,1,1700)])
exp={}
for c in ['sessions','counts','closings']:
    exp[c]=sorted(json.dumps(r,sort_keys=True) for r in json.loads(get(url,f'/v1/collections/{c}/rows?limit=10000'))['rows'])
for c in ['late','session_lineage','dead_letters']:
    rows=[]
    for line in get(url,f'/v1/collections/{c}/changes?from=0&until=caught_up').splitlines():
        f=json.loads(line)
        if f['type']=='delta': rows+=[json.dumps(x['row'],sort_keys=True) for x in f['updates']]
    exp[c]=sorted(rows)
p.kill(); p.wait()
open('run.toml','w').write(BASE.replace('NAME','buyer'))
position=json.load(open('data/sinks/receiver/cursor.json'))['position']
blocks=[name for name in os.listdir('data/log/out') if name.count('-')==4]
assert position['index']==7 and any(int(name.split('-')[3])==position['tick'] for name in blocks),(position,blocks)
exp={c:[json.loads(r) for r in rows] for c,rows in exp.items()}
exp['ingest_token']=ingest; exp['resume_token']=tok; exp['resume_upper']=upper; exp['resumes']=True; exp['received']=keys
print({c:(len(v) if isinstance(v,list) else v) for c,v in exp.items()})
json.dump(exp,open('expected.json','w'),indent=0,sort_keys=True)
