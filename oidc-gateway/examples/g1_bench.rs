//! x
#![allow(clippy::all, clippy::unwrap_used, clippy::print_stdout)]
use std::sync::Arc; use std::time::{Duration,Instant}; use bytes::Bytes;
use oidc_gateway::{random::Random, store::{*, settings::Settings, table::*}};
fn cpu(pid:&str)->f64{let s=std::fs::read_to_string(format!("/proc/{pid}/schedstat"));
 // sum over threads
 let mut t=0f64; for e in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap(){ if let Ok(s)=std::fs::read_to_string(e.unwrap().path().join("schedstat")){ t+=s.split(' ').next().unwrap().parse::<f64>().unwrap(); } } let _=s; t/1000.0}
fn main(){
 let a:Vec<String>=std::env::args().collect(); let (port,pid)=(&a[1],a[2].clone());
 tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async{
  let store=Settings::redis(&format!("redis://127.0.0.1:{port}")).locate(std::path::Path::new("/")).unwrap().connect();
  while store.ping().await.is_err(){tokio::time::sleep(Duration::from_millis(5)).await}
  let random=Random::new().unwrap();
  let value=Bytes::from(vec![b'x';300]);
  let n=100_000usize/16;
  for what in ["ping","get","put","put2","put_new","issue","claim","code","swap"]{
   let (c0,r0,t0)=(cpu("self"),cpu(&pid),Instant::now());
   let mut hs=vec![];
   for _ in 0..16{ let (s,r,v)=(store.clone(),random.clone(),value.clone()); hs.push(tokio::spawn(async move{
     let lives=Duration::from_secs(600);
     let tag=Tag::random(&r); let k=Key::grant(&tag); let k2=Key::access_token(&tag,"x");
     let mut cur=v.clone();
     let w=|k:&Key,v:&Bytes|Write{key:k.clone(),value:v.clone(),lives};
     s.put(&[w(&k,&v)]).await.unwrap();
     for i in 0..n{ match what{
      "ping"=>s.ping().await.unwrap(),
      "get"=>{let g=s.get(std::slice::from_ref(&k)).await.unwrap();assert!(g[0].is_some())},
      "put"=>s.put(&[w(&k,&v)]).await.unwrap(),
      "put2"=>s.put(&[w(&k,&v),w(&k2,&v)]).await.unwrap(),
      "put_new"=>{s.put_new(&w(&Key::assertion("x",&r.token128()),&Bytes::new())).await.unwrap();},
      "issue"=>s.issue(&w(&k,&v),"0123456789012345678901234567890123456789012").await.unwrap(),
      "claim"=>{s.claim(&k,"x",&Owner::random(&r),lives).await.unwrap();},
      "code"=>{ let k=Key::grant(&Tag::random(&r)); let o=Owner::random(&r); s.issue(&w(&k,&v),"0123456789012345678901234567890123456789012").await.unwrap();
         assert!(matches!(s.claim(&k,"0123456789012345678901234567890123456789012",&o,lives).await.unwrap(),Claim::Claimed(_)));
         assert!(s.commit(&o,&w(&k,&v),&[w(&k2,&v)]).await.unwrap()); }
      "swap"=>{ let mut n=cur.to_vec(); n[0]=i as u8; let n=Bytes::from(n); s.swap(&cur,&w(&k,&n),&[w(&k2,&v)]).await.unwrap(); cur=n; }
      _=>{} } }
   }))}
   for h in hs{h.await.unwrap()}
   let tot=(n*16) as f64;
   println!("{what:8} gateway {:6.2} redis {:6.2} µs/op wall {:6.2}",(cpu("self")-c0)/tot,(cpu(&pid)-r0)/tot,t0.elapsed().as_micros() as f64/tot);
  }
 });
 let _=Arc::new(());
}
